/**
 * Plays one random life of a subscription against the control plane and the model at once, and compares them after
 * every step. Everything random comes from the seed.
 */

import { isDeepStrictEqual } from 'node:util'
import { decide } from '../../common/entitlements/decide.ts'
import { deriveGrants } from '../../common/entitlements/derive.ts'
import type { EntitlementSet } from '../../common/entitlements/model.ts'
import { isAppError } from '../../common/errors.ts'
import { createBundle } from '../../control-plane/catalog/bundles.ts'
import { advanceSubscription } from '../../control-plane/engine/advance-subscription.ts'
import { refundPayment } from '../../control-plane/engine/refund-payment.ts'
import { accessOfSubscription } from '../../control-plane/entitlements/subscription-access.ts'
import { keys } from '../../control-plane/keys.ts'
import { openAttempt } from '../../control-plane/payments/machine/state.ts'
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
import { Killed, type Laboratory } from './laboratory.ts'
import { Model, type Plan, Refused } from './model.ts'

const DAY = 1440
const START = Date.UTC(2024, 0, 31) / 60_000

const plans: Plan[] = [
  { id: 'monthly', price: 3_000, interval: 'month', trialDays: 0, refundEnds: false },
  { id: 'double', price: 6_001, interval: 'month', trialDays: 0, refundEnds: true },
  { id: 'weekly', price: 701, interval: 'week', trialDays: 0, refundEnds: false },
  { id: 'daily', price: 100, interval: 'day', trialDays: 0, refundEnds: true },
  { id: 'trial', price: 2_999, interval: 'month', trialDays: 10, refundEnds: false },
  { id: 'free', price: 0, interval: 'month', trialDays: 0, refundEnds: false },
]
const cards = [
  'good',
  'good_2',
  'good',
  'funds',
  'hard',
  'credential',
  'soft',
  'away',
  'paidsilent',
  'lost',
  'pending_700',
  'pending_4400',
  'pendingfail_3000',
  'sca',
]
const bundleOf = ({ id, price, interval, trialDays, refundEnds }: Plan) => ({
  id,
  name: id,
  pricing: { amountMinor: price, currency: 'USD', interval, intervalCount: 1 },
  entitlements: [{ key: 'feature', kind: 'flag' as const, enabled: true }],
  trialDays,
  refundEndsAccess: refundEnds,
})

const storefront = {
  id: 'shop',
  name: 'shop',
  currency: 'USD',
  timeZone: 'UTC',
  routing: { split: [{ account: 'a', weight: 1 }], fallback: ['b'], rules: [] },
  billing: {
    graceHours: 72,
    retryHours: [24, 72, 168],
    firstPaymentHours: 23,
    proration: 'day' as const,
    maxAttemptsPerDay: 10_000,
    maxAttempts: 10_000,
    maxAttemptsDays: 30,
  },
}

const dateOf = (minute: number): Date => new Date(minute * 60_000)
const minuteOf = (date: Date | null | undefined): number | undefined => (date ? date.getTime() / 60_000 : undefined)

const observed = (model: Model) => ({
  status: model.status,
  plan: model.plan.id,
  quantity: model.quantity,
  start: model.isOver ? undefined : model.span.start,
  end: model.isOver ? undefined : model.span.end,
  credit: model.credit,
  graceUntil: model.graceUntil,
  retryAt: model.retryAt,
  cancelAtEnd: model.cancelAtEnd,
  scheduled: model.scheduled?.plan.id,
  kept: model.paid,
})

const stored = (subscription: Subscription, kept: number, over: boolean): ReturnType<typeof observed> => ({
  status: subscription.status as Model['status'],
  plan: subscription.bundleId,
  quantity: subscription.quantity,
  start: over ? undefined : minuteOf(subscription.currentPeriod.start),
  end: over ? undefined : minuteOf(subscription.currentPeriod.end),
  credit: subscription.creditMinor,
  graceUntil: minuteOf(subscription.graceUntil),
  retryAt: minuteOf(subscription.retryAt),
  cancelAtEnd: subscription.cancelAtPeriodEnd,
  scheduled: subscription.scheduledChange?.bundleId,
  kept,
})

export interface Played {
  steps: number
  kills: number
}

/** @throws Error that tells the story up to the step at which the two part. */
export const play = async (laboratory: Laboratory, seed: number, length: number): Promise<Played> => {
  const random = seededRandom(seed)
  const chance = (probability: number): boolean => random() < probability
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T
  const story: string[] = []
  const { services, storage, bank } = laboratory
  const plan = pick(plans)
  const quantity = pick([1, 1, 3])
  const card = plan.price === 0 || plan.trialDays > 0 ? pick([...cards, undefined]) : pick(cards)
  const start = START + pick([0, 0, 0, 3 * DAY, -40 * DAY, -3 * DAY]) + pick([0, 0, 9 * 60])
  const billMissed = chance(0.3)
  story.push(`subscribe to ${plan.id} × ${quantity} with ${card}, from ${dateOf(start).toISOString()}${billMissed ? ', missed periods billed' : ''}`)
  const model = new Model({ now: START, plan, quantity, card, start, billMissed })

  const tenantId = `t${seed}`
  await laboratory.newTenant(tenantId, dateOf(START), storefront)
  const tenant = () => laboratory.tenant(tenantId)
  for (const plan of plans) await createBundle(tenantScope({ ...services, storage }, await tenant()), 'shop', plan.id, bundleOf(plan))
  const id = `sub${seed}`
  const customer = { tenantId, storefrontId: 'shop', customerId: 'c' }
  let kills = 0
  let commands = 0

  /** Does it to the end, however often it is killed on the way: a client that repeats itself under its key. */
  const insist = async <T>(work: () => Promise<T>, isMove = false): Promise<T> => {
    for (;;) {
      // A process that dies while a provider is away cannot know whether it was reached, and waits to be told; one that
      // dies without an answer asks for it sooner. Both are right, and more than the model knows.
      const certain = !/^(away|lost|paidsilent)/.test(model.card ?? '') && !model.isUnsure
      if (certain && chance(0.3)) laboratory.dieAt(1 + Math.floor(random() * 40))
      // Beside it, a worker of another control plane that looks at the same subscription.
      const neighbour =
        certain && !isMove && chance(0.15)
          ? tenant()
              .then((now) => advanceSubscription(tenantScope(services, now), id))
              .catch(() => undefined)
          : undefined
      const [result] = await Promise.allSettled([work(), neighbour])
      laboratory.dieAt(undefined)
      if (result.status === 'fulfilled' && !neighbour) return result.value
      if (result.status === 'fulfilled') {
        await laboratory.recover()
        return result.value
      }
      if (!(result.reason instanceof Killed)) throw result.reason
      kills += 1
      await laboratory.recover()
    }
  }

  const command = () => {
    commands += 1
    return { id: `cmd${commands}`, subscriptionId: id, check: () => {} }
  }

  const payments = async (): Promise<Payment[]> => (await storage.payments.page({ where: { tenantId, subscriptionId: id }, limit: 500 })).data

  const compare = async (): Promise<void> => {
    const subscription = await storage.subscriptions.get(keys.subscription(tenantId, id))
    const made = await payments()
    const prefix = made[0]?.id.slice(0, -6) ?? 'none'
    const [real, expected] = [stored(subscription, made.length > 0 ? bank.kept(prefix) : 0, model.isOver), observed(model)]
    const differs = (Object.keys(expected) as (keyof typeof expected)[]).filter((name) => !isDeepStrictEqual(real[name], expected[name]))
    if (differs.length > 0) {
      throw new Error(`${differs.join(', ')} differ\n  control plane ${JSON.stringify(real)}\n  model         ${JSON.stringify(expected)}`)
    }
    // Never two charges kept for one obligation.
    for (const payment of made) {
      const kept = bank.kept(payment.id)
      if (kept > payment.amountMinor) throw new Error(`payment ${payment.id} of ${payment.amountMinor} kept ${kept}`)
      if (payment.effectsDue || payment.repairAt || payment.status === 'due')
        throw new Error(`payment ${payment.id} is left half-done: ${JSON.stringify(payment)}`)
      if (payment.status === 'succeeded' && payment.attempts.filter(({ status }) => status === 'succeeded').length > 1)
        throw new Error(`payment ${payment.id} was paid twice`)
    }
    const spans = made
      .filter((payment) => payment.status === 'succeeded' && !payment.abandoned)
      .flatMap((payment) =>
        payment.lines
          .filter(({ kind, amountMinor }) => kind === 'plan' && amountMinor > 0)
          .map((line) => `${line.start?.getTime()} ${line.bundleId} ${payment.seq}`),
      )
    if (new Set(spans).size !== spans.length) throw new Error('a period was paid twice')
    if (subscription.repairAt) throw new Error('the subscription is left half-done')
    const open = made.filter((payment) => openAttempt(payment) !== undefined && payment.dueAt === undefined)
    if (open.length > 0) throw new Error(`payment ${open[0]?.id} would never be asked about`)
    // What is published is what follows from what is stored, and it gives access exactly when the state does.
    const set = (await laboratory.feed.getSet(customer)) as EntitlementSet | undefined
    const derived = deriveGrants([accessOfSubscription(subscription)])
    if (!isDeepStrictEqual(set?.grants ?? [], derived)) throw new Error('the published set is not the derived one')
    const allowed = set ? decide(set, 'feature', 1, model.now * 60_000).allowed : false
    if (allowed !== model.hasAccess) throw new Error(`access is ${allowed} while the subscription is ${model.status}`)
  }

  /** The same command to both: both obey, or both refuse. */
  const both = async (name: string, toModel: () => void, toControlPlane: () => Promise<unknown>): Promise<void> => {
    story.push(name)
    let refused = false
    try {
      toModel()
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      refused = true
    }
    try {
      await insist(toControlPlane)
      if (refused) throw new Error('the control plane did what the model refuses')
    } catch (error) {
      if (!isAppError(error, 'not_allowed_in_state', 'invalid_request')) throw error
      if (!refused) throw new Error(`the control plane refuses: ${(error as Error).message}`)
    }
  }

  const change = async (): Promise<void> => {
    const plan = pick(plans)
    const quantity = pick([1, 1, 2, 5])
    const at = chance(0.6) ? ('now' as const) : ('period_end' as const)
    const asked = { bundleId: plan.id, quantity, at }
    const preview = await previewChange(tenantScope({ ...services, storage }, await tenant()), id, asked).catch(() => undefined)
    const before = (await payments()).length
    const { id: _, ...one } = command()
    const order = { id: `cmd${commands}`, ...one }
    await both(
      `change to ${plan.id} × ${quantity} ${at}`,
      () => model.changeTo(plan, quantity, at),
      async () => changeSubscription(tenantScope(services, await tenant()), order, asked),
    )
    const made = (await payments())[before]
    if (preview?.bill && (made?.amountMinor !== preview.bill.amountMinor || made.creditMinor !== preview.bill.creditMinor)) {
      throw new Error(`the preview said ${preview.bill.amountMinor} and the change made ${made?.amountMinor}`)
    }
  }

  const refund = async (): Promise<void> => {
    if (model.refundable === 0) return
    const amount = chance(0.5) ? model.refundable : 1 + Math.floor(random() * model.refundable)
    const { currentPeriod } = await storage.subscriptions.get(keys.subscription(tenantId, id))
    const payment = (await payments()).find(({ seq }) => seq === currentPeriod.ownBill)
    if (!payment) throw new Error('the model would refund a payment that there is none of')
    commands += 1
    const refundId = `ref${commands}`
    await both(
      `refund ${amount}`,
      () => model.refund(amount),
      async () => refundPayment(tenantScope(services, await tenant()), payment.id, refundId, amount),
    )
  }

  const wait = async (): Promise<void> => {
    const minutes = pick([5, 60, 6 * 60, DAY, DAY, 2 * DAY, 4 * DAY, 10 * DAY, 31 * DAY])
    story.push(`wait ${minutes / 60} h`)
    const target = model.now + minutes
    model.advanceTo(target)
    await insist(async () => moveTestClock(tenantScope(services, await tenant()), dateOf(target)), true)
  }

  const actions: [weight: number, act: () => Promise<void>][] = [
    [40, wait],
    [
      12,
      async () => {
        const card = pick(cards)
        const order = command()
        await both(
          `card ${card}`,
          () => model.setCard(card),
          async () => editSubscription(tenantScope(services, await tenant()), order, { paymentMethod: card }),
        )
      },
    ],
    [14, change],
    [4, refund],
    [
      4,
      async () => {
        const order = command()
        await both(
          'pause',
          () => model.pause(undefined),
          async () => pauseSubscription(tenantScope(services, await tenant()), order, { what: 'service' }),
        )
      },
    ],
    [
      3,
      async () => {
        const days = pick([1, 20, 50])
        const order = command()
        const resumeAt = dateOf(model.now + days * DAY)
        await both(
          `pause for ${days} d`,
          () => model.pause(days),
          async () => pauseSubscription(tenantScope(services, await tenant()), order, { what: 'service', resumeAt }),
        )
      },
    ],
    [
      3,
      async () => {
        const order = command()
        await both(
          'pause collection',
          () => model.pauseCollection(),
          async () => pauseSubscription(tenantScope(services, await tenant()), order, { what: 'collection' }),
        )
      },
    ],
    [
      8,
      async () => {
        const order = command()
        await both(
          'resume',
          () => model.resume(),
          async () => resumeSubscription(tenantScope(services, await tenant()), order),
        )
      },
    ],
    [
      3,
      async () => {
        const at = chance(0.3) ? ('now' as const) : ('period_end' as const)
        const order = command()
        await both(
          `cancel ${at}`,
          () => model.cancel(at),
          async () => cancelSubscription(tenantScope(services, await tenant()), order, at),
        )
      },
    ],
    [
      3,
      async () => {
        const order = command()
        await both(
          'reactivate',
          () => model.reactivate(),
          async () => reactivateSubscription(tenantScope(services, await tenant()), order),
        )
      },
    ],
    [
      4,
      async () => {
        story.push('approve')
        model.approve()
        const [first] = await payments()
        for (const { account, event } of first ? bank.approve(first.id.slice(0, -6)) : []) await insist(() => bank.deliver(account, event))
      },
    ],
  ]
  const total = actions.reduce((sum, [weight]) => sum + weight, 0)

  try {
    const input = {
      customerId: 'c',
      bundleId: plan.id,
      storefrontId: 'shop',
      quantity,
      billMissed,
      startDate: dateOf(start).toISOString(),
      paymentMethod: card,
    }
    await insist(async () => createSubscription(tenantScope(services, await tenant()), id, input))
    await compare()
    for (let step = 0; step < length; step += 1) {
      let at = random() * total
      const [, act] = actions.find(([weight]) => {
        at -= weight
        return at < 0
      }) as [number, () => Promise<void>]
      await act()
      await compare()
    }
    return { steps: length + 1, kills }
  } catch (error) {
    const [subscription, made] = [await storage.subscriptions.find(keys.subscription(tenantId, id)), await payments()]
    if (process.env.SIMULATION_DUMP)
      process.stderr.write(`${JSON.stringify({ subscription, made, charges: bank.charges(), refunds: bank.refunds() }, undefined, 1)}\n`)
    const told = story.map((line, n) => `  ${n + 1}. ${line}`).join('\n')
    throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : String(error)}\n${told}`, { cause: error })
  }
}
