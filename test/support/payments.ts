/** Payments for tests of the payment machine, each named `pay`, with attempts named `pay-1`, `pay-2` and so on. */
import { DAY_MS, HOUR_MS } from '../../common/durations.ts'
import { recordOutcome, startAttempt } from '../../control-plane/payments/machine/attempts.ts'
import type { ChargeOutcome } from '../../control-plane/payments/psp/psp.ts'
import type { Attempt, Payment } from '../../control-plane/schemas/payment.ts'

export const [HOUR, DAY] = [HOUR_MS, DAY_MS]
export const now = new Date('2024-03-15T00:00:00Z')
export const at = (ms: number): Date => new Date(now.getTime() + ms)
export const repairAt = at(5_000)
export const route = { rule: 'split', slot: 0, candidates: ['a', 'b', 'c'], excluded: [] }

export const paymentOf = (change: Partial<Payment> = {}): Payment => ({
  _id: 't/pay',
  tenantId: 't',
  revision: 1,
  createdAt: now,
  updatedAt: now,
  id: 'pay',
  storefrontId: 's',
  customerId: 'c',
  subscriptionId: 'sub',
  period: { start: now, end: now },
  lines: [],
  creditMinor: 0,
  amountMinor: 2900,
  currency: 'USD',
  paymentMethodId: 'pm',
  status: 'due',
  round: 1,
  attempts: [],
  refunds: [],
  effectsDue: false,
  abandoned: false,
  clock: 'system',
  ...change,
})

export const attemptOf = (change: Partial<Attempt> = {}): Attempt =>
  ({
    id: 'pay-1',
    account: 'a',
    status: 'sent',
    round: 1,
    amountMinor: 2900,
    paymentMethodId: 'pm',
    inquiries: 0,
    why: route,
    at: now,
    ...change,
  }) as Attempt

/** A payment whose attempts had these outcomes, each on the next account; without any, one attempt is sent. */
export const after = (...outcomes: ChargeOutcome[]): Payment => {
  const start = (payment: Payment, n: number) => startAttempt(payment, route.candidates[n] ?? 'a', 'pm', route, now, repairAt)
  return outcomes.reduce<Payment>(
    (payment, outcome, n) => {
      const started = n === 0 ? payment : start(payment, n)
      return recordOutcome(started, `pay-${n + 1}`, outcome, now, repairAt) ?? started
    },
    start(paymentOf(), 0),
  )
}
