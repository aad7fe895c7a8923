/**
 * A subscription for tests of the subscription machine: 31.00 USD for March 2024, paid on the first, seen on the 11th. A day of
 * it costs 1.00, and 21 days are left. Its next bill is for April.
 */
import type { Bill, Subscription } from '../../control-plane/schemas/subscription.ts'
import { DAY } from './payments.ts'

export const start = new Date('2024-03-01T00:00:00Z')
export const end31 = new Date('2024-04-01T00:00:00Z')
export const day = (n: number) => new Date(start.getTime() + (n - 1) * DAY)
export const now = day(11)
export const moment = { now, repairAt: new Date(now.getTime() + 5_000) }
export const pricing = { amountMinor: 3100, currency: 'USD', interval: 'month', intervalCount: 1 } as const
export const period = { index: 0, start, end: end31, wholeStart: start, wholeEnd: end31 }
export const billing = {
  graceHours: 72,
  retryHours: [24, 72],
  firstPaymentHours: 23,
  maxAttempts: 15,
  maxAttemptsDays: 30,
  proration: 'day',
  trialNoticeDays: 0,
  renewalNoticeDays: 0,
}

export const subscriptionOf = (change: object = {}): Subscription =>
  ({
    _id: 't/sub',
    tenantId: 't',
    revision: 1,
    createdAt: start,
    updatedAt: start,
    clock: 'system',
    id: 'sub',
    storefrontId: 's',
    customerId: 'c',
    bundleId: 'b',
    bundleVersion: 1,
    quantity: 1,
    pricing,
    status: 'active',
    anchor: start,
    timeZone: 'UTC',
    billing,
    billMissed: false,
    currentPeriod: { ...period, ownBill: 0, firstBill: 0, creditableMinor: 3100, refunds: [], paidFrom: [{ paymentId: 'pay', amountMinor: 3100 }] },
    paymentMethodId: 'pm',
    creditMinor: 0,
    creditRefundedMinor: 0,
    billsMade: 1,
    bills: [],
    cancelAtPeriodEnd: false,
    events: [],
    eventsMade: 0,
    recentCommands: [],
    ...change,
  }) as unknown as Subscription

export const billOf = (change: Partial<Bill> = {}): Bill => ({
  paymentId: 'pay2',
  seq: 1,
  reason: 'period',
  status: 'open',
  period: { index: 1, start: end31, end: new Date('2024-05-01T00:00:00Z'), wholeStart: end31, wholeEnd: new Date('2024-05-01T00:00:00Z') },
  lines: [{ kind: 'plan', bundleId: 'b', bundleVersion: 1, quantity: 1, amountMinor: 3100 }],
  creditMinor: 0,
  amountMinor: 3100,
  openedAt: end31,
  creditableMinor: 3100,
  round: 1,
  failedRound: 0,
  ...change,
})
export const must = <T>(value: T | undefined): T => {
  if (value === undefined) throw new Error('it changed nothing')
  return value
}
export const types = ({ events }: Subscription) => events.map(({ type }) => type)
export const notAllowed = (message: RegExp) => ({ code: 'not_allowed_in_state', message }) as never
