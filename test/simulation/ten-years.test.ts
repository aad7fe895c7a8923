/**
 * Ten years in the life of a business, day by day on the test clock: a thousand subscriptions of every interval, cards
 * that fail now and then or for good, customers who change, pause, cancel and are refunded. In the end every book
 * agrees with every other, to the cent.
 *
 *   TEN_YEARS_SUBSCRIPTIONS=1000 npx ava test/simulation/ten-years.test.ts
 */

import test from 'ava'
import { isAppError } from '../../common/errors.ts'
import { createBundle } from '../../control-plane/catalog/bundles.ts'
import { refundPayment } from '../../control-plane/engine/refund-payment.ts'
import { refundedMinor } from '../../control-plane/payments/machine/refunds.ts'
import { openAttempt } from '../../control-plane/payments/machine/state.ts'
import type { Payment } from '../../control-plane/schemas/payment.ts'
import type { Subscription } from '../../control-plane/schemas/subscription.ts'
import { MAX_PAGE } from '../../control-plane/storage/storage.ts'
import {
  cancelSubscription,
  changeSubscription,
  editSubscription,
  pauseSubscription,
  resumeSubscription,
} from '../../control-plane/subscriptions/change-subscription.ts'
import { createSubscription } from '../../control-plane/subscriptions/create-subscription.ts'
import { tenantScope } from '../../control-plane/tenant-scope.ts'
import { moveTestClock } from '../../control-plane/work/move-test-clock.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { openLaboratory } from './laboratory.ts'

const SUBSCRIPTIONS = Number(process.env.TEN_YEARS_SUBSCRIPTIONS ?? 60)
const YEARS = 10
const SEED = Number(process.env.TEN_YEARS_SEED ?? 1)
const DAY_MS = 86_400_000

const plans = [
  { id: 'monthly', amountMinor: 2_900, interval: 'month', share: 0.15 },
  { id: 'monthly-more', amountMinor: 9_999, interval: 'month', share: 0.05 },
  { id: 'quarterly', amountMinor: 8_001, interval: 'quarter', share: 0.3 },
  { id: 'yearly', amountMinor: 29_003, interval: 'year', share: 0.5 },
] as const

test(`${YEARS} years of ${SUBSCRIPTIONS} subscriptions reconcile to the cent`, async (t) => {
  t.timeout(600_000)
  t.log(`TEN_YEARS_SEED=${SEED}`)
  const random = seededRandom(SEED)
  const laboratory = openLaboratory()
  const { services, storage, bank } = laboratory
  const startMs = Date.UTC(2024, 0, 1)
  await laboratory.newTenant('decade', new Date(startMs), {
    id: 'shop',
    name: 'shop',
    currency: 'USD',
    timeZone: 'America/New_York',
    routing: {
      split: [
        { account: 'a', weight: 80 },
        { account: 'b', weight: 20 },
      ],
      fallback: ['b', 'a'],
      rules: [],
    },
    billing: { graceHours: 72, retryHours: [24, 72, 168], firstPaymentHours: 23, proration: 'day', maxAttempts: 15, maxAttemptsDays: 30 },
  })
  const tenant = () => laboratory.tenant('decade')
  for (const { id, amountMinor, interval } of plans) {
    await createBundle(tenantScope(services, await tenant()), 'shop', id, {
      name: id,
      pricing: { amountMinor, currency: 'USD', interval, intervalCount: 1 },
      entitlements: [{ key: 'feature', kind: 'flag', enabled: true }],
      trialDays: 0,
      refundEndsAccess: false,
    })
  }
  const pickPlan = () => {
    let at = random()
    return plans.find(({ share }) => {
      at -= share
      return at < 0
    })?.id
  }
  let made = 0
  let commands = 0
  const living: string[] = []
  const subscribe = async () => {
    made += 1
    const id = `sub${made}`
    const paymentMethod = random() < 0.97 ? 'flaky' : 'pending_2880'
    await createSubscription(tenantScope(services, await tenant()), id, {
      customerId: `c${made}`,
      bundleId: pickPlan() ?? 'monthly',
      storefrontId: 'shop',
      paymentMethod,
    })
    living.push(id)
  }
  /** What a state does not allow is refused, as it would be in life. */
  const attempt = (work: Promise<unknown>) =>
    work.catch((error) => {
      if (!isAppError(error, 'not_allowed_in_state', 'invalid_request')) throw error
    })
  const customersDay = async () => {
    for (let n = 0; n < 3; n += 1) {
      const subscriptionId = living[Math.floor(random() * living.length)]
      if (!subscriptionId) continue
      commands += 1
      const command = { id: `cmd${commands}`, subscriptionId, check: () => {} }
      const now = await tenant()
      const act = random()
      if (act < 0.25)
        await attempt(changeSubscription(tenantScope(services, now), command, { bundleId: pickPlan(), at: random() < 0.5 ? 'now' : 'period_end' }))
      else if (act < 0.4)
        await attempt(
          pauseSubscription(tenantScope(services, now), command, { what: 'service', resumeAt: new Date((now.testNow as Date).getTime() + 20 * DAY_MS) }),
        )
      else if (act < 0.5) await attempt(resumeSubscription(tenantScope(services, now), command))
      else if (act < 0.52) await attempt(cancelSubscription(tenantScope(services, now), command, 'period_end'))
      else if (act < 0.55) await attempt(editSubscription(tenantScope(services, now), command, { paymentMethod: random() < 0.5 ? 'hard' : 'flaky_2' }))
      else if (act < 0.6) {
        const { data } = await storage.payments.page({ where: { tenantId: 'decade', subscriptionId }, limit: 1 })
        const [payment] = data
        if (!payment) continue
        await attempt(refundPayment(tenantScope(services, now), payment.id, `ref${commands}`, 1 + Math.floor(random() * 500)))
      }
    }
  }

  // A month in which the customers come, and then ten years; who leaves is replaced.
  for (let day = 0; day < YEARS * 365; day += 1) {
    if (day < 30) for (let n = 0; n < SUBSCRIPTIONS / 30; n += 1) await subscribe()
    await customersDay()
    if (day % 90 === 89) {
      for (const id of [...living]) {
        const { status } = await storage.subscriptions.get(`decade/${id}`)
        if (status !== 'canceled' && status !== 'incomplete_expired') continue
        living.splice(living.indexOf(id), 1)
        await subscribe()
      }
    }
    await moveTestClock(tenantScope(services, await tenant()), new Date(startMs + (day + 1) * DAY_MS))
  }

  const everything = async <D>(page: (cursor: string | undefined) => Promise<{ data: D[]; nextCursor?: string }>): Promise<D[]> => {
    const all: D[] = []
    let cursor: string | undefined
    do {
      const next = await page(cursor)
      all.push(...next.data)
      cursor = next.nextCursor
    } while (cursor)
    return all
  }
  const where = { tenantId: 'decade' }
  const payments: Payment[] = await everything((cursor) => storage.payments.page({ where, limit: MAX_PAGE, cursor }))
  const subscriptions: Subscription[] = await everything((cursor) => storage.subscriptions.page({ where, limit: MAX_PAGE, cursor }))
  const sum = (amounts: number[]): number => amounts.reduce((total, amount) => total + amount, 0)

  // The bank's book and ours.
  const succeeded = payments.filter(({ status }) => status === 'succeeded')
  const received = sum(succeeded.map((payment) => payment.amountMinor * payment.attempts.filter(({ status }) => status === 'succeeded').length))
  const returned = sum(payments.map(refundedMinor))
  t.is(bank.kept(''), received - returned)
  t.is(
    bank.charges().filter(({ status }) => status === 'succeeded').length,
    sum(succeeded.map(({ attempts }) => attempts.filter(({ status }) => status === 'succeeded').length)),
  )
  t.is(bank.refunds().length, sum(payments.map(({ refunds }) => refunds.filter(({ status }) => status === 'succeeded').length)))

  // Every payment is its lines less its credit, and every credit that was made is used or still owed.
  for (const payment of payments) t.is(payment.amountMinor + payment.creditMinor, sum(payment.lines.map(({ amountMinor }) => amountMinor)), payment.id)
  const bySubscription = Map.groupBy(payments, ({ subscriptionId }) => subscriptionId)
  for (const subscription of subscriptions) {
    const own = bySubscription.get(subscription.id) ?? []
    const effective = own.filter(({ status, abandoned }) => !abandoned && (status === 'succeeded' || subscription.bills.length > 0))
    t.is(
      subscription.creditMinor + subscription.creditRefundedMinor,
      sum(effective.map(({ creditMinor }) => 0 - creditMinor)),
      `the credit of ${subscription.id}`,
    )
    t.is(own.filter(({ effectsDue, repairAt }) => effectsDue || repairAt).length, 0)
    // One charge a period: no two payments that took effect pay for a plan from the same moment.
    const starts = effective.flatMap(({ seq, lines }) =>
      lines.filter(({ kind, amountMinor }) => kind === 'plan' && amountMinor > 0).map(({ start, bundleId }) => `${seq} ${start?.toISOString()} ${bundleId}`),
    )
    t.is(new Set(starts).size, starts.length)
    t.is(own.filter((payment) => openAttempt(payment) && !payment.dueAt).length, 0)
  }
  t.true(subscriptions.every(({ repairAt }) => !repairAt))
  t.true(succeeded.length > SUBSCRIPTIONS * YEARS)
  t.log(
    `${subscriptions.length} subscriptions, ${payments.length} payments, ${succeeded.length} succeeded; ${received / 100} received, ${returned / 100} returned; ${commands} acts of customers`,
  )
  await laboratory.close()
})
