/**
 * Random businesses rather than random lives: every interval and count, billing days, time zones, proration by day or
 * second, grace and retries of every length, several subscriptions of one customer, new versions for all, one-time
 * payments. No model tells what ought to happen; what must hold whatever happens is checked after every step.
 *
 *   WIDE_SEQUENCES=1000 WIDE_SEED=1 npx ava test/simulation/wide.test.ts
 */

import { isDeepStrictEqual } from 'node:util'
import test from 'ava'
import { intervals } from '../../common/calendar.ts'
import { decide } from '../../common/entitlements/decide.ts'
import { deriveGrants } from '../../common/entitlements/derive.ts'
import type { EntitlementSet } from '../../common/entitlements/model.ts'
import { isAppError } from '../../common/errors.ts'
import { createBundle, replaceBundle } from '../../control-plane/catalog/bundles.ts'
import { refundPayment } from '../../control-plane/engine/refund-payment.ts'
import { accessOfSubscription } from '../../control-plane/entitlements/subscription-access.ts'
import { refundedMinor } from '../../control-plane/payments/machine/refunds.ts'
import { openAttempt } from '../../control-plane/payments/machine/state.ts'
import { payOnce } from '../../control-plane/payments/one-time-payment.ts'
import type { Payment } from '../../control-plane/schemas/payment.ts'
import type { Subscription } from '../../control-plane/schemas/subscription.ts'
import {
  cancelSubscription,
  changeSubscription,
  editSubscription,
  pauseSubscription,
  previewChange,
  reactivateSubscription,
  resumeSubscription,
} from '../../control-plane/subscriptions/change-subscription.ts'
import { createSubscription } from '../../control-plane/subscriptions/create-subscription.ts'
import { tenantScope } from '../../control-plane/tenant-scope.ts'
import { moveTestClock } from '../../control-plane/work/move-test-clock.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { Killed, type Laboratory, openLaboratory } from './laboratory.ts'

const SEQUENCES = Number(process.env.WIDE_SEQUENCES ?? 100)
const FIRST_SEED = Number(process.env.WIDE_SEED ?? Date.now() % 1_000_000)
const STEPS = 20
const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

const cards = [
  'good',
  'good_2',
  'flaky',
  'funds',
  'hard',
  'credential',
  'soft',
  'away',
  'paidsilent',
  'lost',
  'pending_700',
  'pending_9000',
  'pendingfail_3000',
  'sca',
]

const sum = (amounts: number[]): number => amounts.reduce((total, amount) => total + amount, 0)

/** @throws Error that tells the story up to the step at which something did not hold. */
const play = async (laboratory: Laboratory, seed: number): Promise<void> => {
  const random = seededRandom(seed)
  const chance = (probability: number): boolean => random() < probability
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T
  const { services, storage, bank } = laboratory
  const tenantId = `w${seed}`
  const startMs = Date.UTC(2024, pick([0, 1, 2, 6, 9, 10]), pick([1, 10, 28, 29, 30, 31]), pick([0, 7, 23]), pick([0, 30]))
  const story: string[] = []
  const storefront = {
    id: 'shop',
    name: 'shop',
    currency: 'USD',
    timeZone: pick(['UTC', 'America/New_York', 'Europe/Berlin', 'Asia/Kolkata', 'Pacific/Apia', 'Australia/Lord_Howe']),
    routing: {
      split: [
        { account: 'a', weight: 3 },
        { account: 'b', weight: 1 },
      ],
      fallback: ['b'],
      rules: [],
    },
    billing: {
      graceHours: pick([0, 1, 24, 72, 500]),
      retryHours: pick([[24, 72, 168], [1], [5, 6, 7, 8], [24, 1_000]]),
      firstPaymentHours: pick([1, 23, 200]),
      proration: pick(['day', 'second'] as const),
      maxAttempts: pick([2, 15]),
      maxAttemptsDays: 30,
    },
  }
  await laboratory.newTenant(tenantId, new Date(startMs), storefront)
  const tenant = () => laboratory.tenant(tenantId)
  story.push(JSON.stringify({ timeZone: storefront.timeZone, ...storefront.billing, start: new Date(startMs) }))
  const bundle = () => ({
    name: 'b',
    pricing: { amountMinor: pick([0, 1, 999, 2_900, 100_001]), currency: 'USD', interval: pick(intervals), intervalCount: pick([1, 1, 2, 5]) },
    entitlements: [{ key: 'feature', kind: 'flag' as const, enabled: true }],
    trialDays: pick([0, 0, 0, 1, 14]),
    refundEndsAccess: chance(0.5),
  })
  const bundles = ['one', 'two', 'three']
  for (const id of bundles) {
    const content = bundle()
    story.push(`bundle ${id}: ${JSON.stringify(content.pricing)}, ${content.trialDays} trial days`)
    await createBundle(tenantScope(services, await tenant()), 'shop', id, content)
  }
  const customers = ['c1', 'c2']
  const ids: string[] = []
  let made = 0

  /** To the end, however often it is killed; what a state does not allow is refused, and changes nothing. */
  const insist = async (name: string, work: () => Promise<unknown>): Promise<void> => {
    story.push(name)
    for (;;) {
      if (chance(0.25)) laboratory.dieAt(1 + Math.floor(random() * 40))
      const [result] = await Promise.allSettled([work()])
      laboratory.dieAt(undefined)
      if (result.status === 'fulfilled') break
      if (isAppError(result.reason, 'not_allowed_in_state', 'invalid_request')) {
        story.push(`   refused: ${result.reason.message}`)
        break
      }
      if (!(result.reason instanceof Killed)) throw result.reason
      await laboratory.recover()
    }
    await laboratory.recover()
  }
  const order = (subscriptionId: string) => {
    made += 1
    return { id: `cmd${made}`, subscriptionId, check: () => {} }
  }

  const actions: [weight: number, act: () => Promise<void>][] = [
    [
      30,
      async () => {
        const target = new Date(((await tenant()).testNow as Date).getTime() + pick([HOUR_MS, 5 * HOUR_MS, DAY_MS, 3 * DAY_MS, 20 * DAY_MS, 45 * DAY_MS]))
        await insist(`until ${target.toISOString()}`, async () => moveTestClock(tenantScope(services, await tenant()), target))
      },
    ],
    [
      8,
      async () => {
        made += 1
        const id = `s${made}`
        const now = (await tenant()).testNow as Date
        const input = {
          customerId: pick(customers),
          bundleId: pick(bundles),
          storefrontId: 'shop',
          quantity: pick([1, 1, 7]),
          billingDay: chance(0.4) ? pick([1, 5, 7, 15, 31]) : undefined,
          billMissed: chance(0.3),
          startDate: chance(0.4) ? new Date(now.getTime() + pick([-70, -9, -1, 2, 40]) * DAY_MS).toISOString() : undefined,
          paymentMethod: pick(cards),
        }
        await insist(`subscribe ${id}: ${JSON.stringify(input)}`, async () => createSubscription(tenantScope(services, await tenant()), id, input))
        if (await storage.subscriptions.find(`${tenantId}/${id}`)) ids.push(id)
      },
    ],
    [
      10,
      async () => {
        const [one, paymentMethod] = [order(pick(ids)), pick(cards)]
        await insist(`${one.subscriptionId} card ${paymentMethod}`, async () => editSubscription(tenantScope(services, await tenant()), one, { paymentMethod }))
      },
    ],
    [
      12,
      async () => {
        const one = order(pick(ids))
        const asked = { bundleId: chance(0.7) ? pick(bundles) : undefined, quantity: pick([1, 2, 3]), at: pick(['now', 'period_end'] as const) }
        const before = await storage.subscriptions.get(`${tenantId}/${one.subscriptionId}`)
        const preview = await previewChange(tenantScope({ ...services, storage }, await tenant()), one.subscriptionId, asked).catch(() => undefined)
        await insist(`${one.subscriptionId} change ${JSON.stringify(asked)}`, async () => changeSubscription(tenantScope(services, await tenant()), one, asked))
        const bill = preview?.bill
        if (!bill) return
        const payment = await storage.payments.find(`${tenantId}/${bill.paymentId}`)
        if (payment?.amountMinor !== bill.amountMinor || payment.creditMinor !== bill.creditMinor) throw new Error(`the preview of ${before.id} said otherwise`)
      },
    ],
    [
      5,
      async () => {
        const { data } = await storage.payments.page({ where: { tenantId }, limit: 100 })
        const paid = data.filter(({ status }) => status === 'succeeded')
        if (paid.length === 0) return
        const payment = pick(paid)
        made += 1
        const [id, amount] = [`ref${made}`, chance(0.5) ? undefined : 1 + Math.floor(random() * payment.amountMinor)]
        await insist(`refund ${amount ?? 'all'} of ${payment.id}`, async () => refundPayment(tenantScope(services, await tenant()), payment.id, id, amount))
      },
    ],
    [
      3,
      async () => {
        made += 1
        const [id, customerId, paymentMethod] = [`once${made}`, pick(customers), pick(cards)]
        const input = { storefrontId: 'shop', customerId, amountMinor: 777, currency: 'USD', paymentMethod }
        await insist(`one-time payment with ${paymentMethod}`, async () => payOnce(tenantScope(services, await tenant()), id, input))
      },
    ],
    [
      3,
      async () => {
        const [id, content] = [pick(bundles), bundle()]
        story.push(`new version of ${id} for all: ${JSON.stringify(content.pricing)}`)
        await replaceBundle(tenantScope({ ...services, storage }, await tenant()), 'shop', id, () => {}, content, 'all')
        await insist('roll out', async () => laboratory.recover())
      },
    ],
    [
      9,
      async () => {
        const one = order(pick(ids))
        const now = await tenant()
        const resumeAt = chance(0.5) ? new Date((now.testNow as Date).getTime() + pick([1, 15, 60]) * DAY_MS) : undefined
        const what = chance(0.7) ? ('service' as const) : ('collection' as const)
        await insist(`${one.subscriptionId} pause ${what}`, async () =>
          pauseSubscription(tenantScope(services, await tenant()), one, { what, ...(what === 'service' ? { resumeAt } : {}) }),
        )
      },
    ],
    [
      9,
      async () => {
        const one = order(pick(ids))
        await insist(`${one.subscriptionId} resume`, async () => resumeSubscription(tenantScope(services, await tenant()), one))
      },
    ],
    [
      3,
      async () => {
        const [one, at] = [order(pick(ids)), pick(['now', 'period_end', 'period_end'] as const)]
        await insist(`${one.subscriptionId} cancel ${at}`, async () => cancelSubscription(tenantScope(services, await tenant()), one, at))
      },
    ],
    [
      2,
      async () => {
        const one = order(pick(ids))
        await insist(`${one.subscriptionId} reactivate`, async () => reactivateSubscription(tenantScope(services, await tenant()), one))
      },
    ],
    [
      4,
      async () => {
        for (const { account, event } of bank.approve('')) await insist('approve', () => bank.deliver(account, event))
      },
    ],
  ]

  const check = async (): Promise<void> => {
    const now = (await tenant()).testNow as Date
    const { data: payments } = await storage.payments.page({ where: { tenantId }, limit: 500 })
    const { data: subscriptions } = await storage.subscriptions.page({ where: { tenantId }, limit: 500 })
    for (const payment of payments) checkPayment(payment, now)
    for (const subscription of subscriptions) checkSubscription(subscription, payments, now)
    for (const customerId of customers) {
      const set = (await laboratory.feed.getSet({ tenantId, storefrontId: 'shop', customerId })) as EntitlementSet | undefined
      const own = subscriptions.filter((subscription) => subscription.customerId === customerId)
      if (!isDeepStrictEqual(set?.grants ?? [], deriveGrants(own.map(accessOfSubscription))))
        throw new Error(`the published set of ${customerId} is not the derived one`)
      const on = own.some(({ status }) => status === 'trialing' || status === 'active' || status === 'past_due')
      const allowed = set ? decide(set, 'feature', 1, now.getTime()).allowed : false
      if (allowed !== on) throw new Error(`${customerId} is ${allowed ? '' : 'not '}allowed, and the subscriptions are ${own.map(({ status }) => status)}`)
    }
  }

  const checkPayment = (payment: Payment, now: Date): void => {
    const fault = (why: string) => new Error(`payment ${payment.id}: ${why}: ${JSON.stringify(payment)}`)
    if (payment.amountMinor + payment.creditMinor !== sum(payment.lines.map(({ amountMinor }) => amountMinor))) throw fault('is not its lines less its credit')
    const kept = bank.kept(payment.id)
    // A provider may have charged, and not have said so yet.
    const silent = payment.attempts.some(({ status }) => status === 'unknown')
    const expected =
      payment.status === 'succeeded' ? payment.amountMinor * payment.attempts.filter(({ status }) => status === 'succeeded').length - refundedMinor(payment) : 0
    if (!silent && kept !== expected) throw fault(`the bank keeps ${kept}, and we think ${expected}`)
    if (kept > payment.amountMinor) throw fault(`the bank keeps ${kept}`)
    if (payment.abandoned && !silent && kept !== 0) throw fault('nobody wants it and it was kept')
    if (payment.effectsDue || payment.repairAt || payment.status === 'due') throw fault('is left half-done')
    if (openAttempt(payment) && !payment.dueAt) throw fault('would never be asked about')
    if (payment.dueAt && payment.dueAt <= now) throw fault('is still due')
  }

  const checkSubscription = (subscription: Subscription, payments: Payment[], now: Date): void => {
    const fault = (why: string) =>
      new Error(`subscription ${subscription.id}: ${why}: ${JSON.stringify({ ...subscription, events: subscription.events.slice(-6) })}`)
    if (subscription.repairAt) throw fault('is left half-done')
    if (subscription.dueAt && subscription.dueAt <= now) throw fault('is still due')
    const over = ['canceled', 'incomplete_expired', 'paused'].includes(subscription.status)
    const waitsForever = over || (subscription.status === 'suspended' && subscription.retryAt)
    if (!subscription.dueAt && !waitsForever) throw fault('waits for nothing')
    const { currentPeriod } = subscription
    const runs = subscription.status === 'active' || subscription.status === 'trialing'
    if (runs && !(currentPeriod.start <= now) && subscription.status === 'active') throw fault('is in a period to come')
    if (runs && subscription.bills.length === 0 && currentPeriod.end <= now) throw fault('is in a period that is over')
    if (subscription.events.length > 60 || subscription.bills.length > 4) throw fault('grows')
    const own = payments.filter(({ subscriptionId }) => subscriptionId === subscription.id)
    const open = new Set(subscription.bills.filter(({ status }) => status === 'open').map(({ paymentId }) => paymentId))
    const counted = own.filter((payment) => open.has(payment.id) || (payment.status === 'succeeded' && !payment.abandoned))
    if (
      subscription.creditMinor + subscription.creditRefundedMinor - (subscription.creditGivenMinor ?? 0) !==
      -sum(counted.map(({ creditMinor }) => creditMinor)) + 0
    )
      throw fault(`its credit is not ${-sum(counted.map(({ creditMinor }) => creditMinor))}`)
    // Periods that were paid do not overlap: of one bill each, in the order of their making.
    const periods = counted.filter(({ lines }) => lines.length === 1 && lines[0]?.kind === 'plan').sort((a, b) => (a.seq ?? 0) - (b.seq ?? 0))
    periods.forEach((payment, n) => {
      const before = periods[n - 1]
      const start = payment.lines[0]?.start as Date
      if (before && start < (before.lines[0]?.start as Date)) throw fault(`period ${start.toISOString()} is billed after a later one`)
      if (before && start.getTime() === before.lines[0]?.start?.getTime()) throw fault(`period ${start.toISOString()} is billed twice`)
    })
  }

  try {
    await actions[1]?.[1]()
    for (let step = 0; step < STEPS; step += 1) {
      let at = random() * sum(actions.map(([weight]) => weight))
      const [, act] = actions.find(([weight]) => {
        at -= weight
        return at < 0
      }) as [number, () => Promise<void>]
      if (ids.length > 0 || act === actions[1]?.[1]) await act()
      else await actions[1]?.[1]()
      await check()
    }
  } catch (error) {
    throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : String(error)}\n${story.map((line, n) => `  ${n}. ${line}`).join('\n')}`, {
      cause: error,
    })
  }
}

test(`the invariants hold in ${SEQUENCES} random businesses from seed ${FIRST_SEED}`, async (t) => {
  t.timeout(60_000 + SEQUENCES * 1_000)
  let laboratory = openLaboratory()
  for (let n = 0; n < SEQUENCES; n += 1) {
    await play(laboratory, FIRST_SEED + n)
    await laboratory.close()
    laboratory = openLaboratory()
  }
  await laboratory.close()
  t.pass()
})
