/**
 * The events of random lives, with kills between any two writes: the log has each once and in order, and tells exactly what the
 * stored documents say has happened.
 */
import test from 'ava'
import { decideAll } from '../../common/entitlements/decide.ts'
import type { Recorded } from '../../control-plane/events/record.ts'
import type { Payment } from '../../control-plane/schemas/payment.ts'
import type { Subscription } from '../../control-plane/schemas/subscription.ts'
import { type Laboratory, openLaboratory } from './laboratory.ts'
import { play } from './play.ts'

const SEQUENCES = Number(process.env.SIMULATION_SEQUENCES ?? 100)
const FIRST_SEED = Number(process.env.SIMULATION_SEED ?? Date.now() % 1_000_000)
const STEPS = 20
const LIVES = 50

interface Told {
  id: string
  type: string
  subject: string
  seq: number
  position: number
  // biome-ignore lint/suspicious/noExplicitAny: the object of each type is another one
  data: any
}

const eventsOf = async ({ storage, services }: Laboratory, tenantId: string): Promise<Told[]> => {
  const all: Told[] = []
  for (let after = 0; ; ) {
    const { events, upTo } = await services.events.logs.read(tenantId, after, 7)
    all.push(...(events as unknown as Told[]))
    if (events.length === 0 && upTo === (await services.events.logs.lastPlace(tenantId))) break
    after = upTo
  }
  let written = 0
  for (let above = 0; ; ) {
    const page = await storage.loggedEvents.after({ where: { tenantId }, above, limit: 500 })
    written += page.length
    above = page.at(-1)?.position ?? 0
    if (page.length < 500) break
  }
  if (written !== all.length) throw new Error(`a reader saw ${all.length} of ${written} events`)
  return all
}

const must = (holds: boolean, what: string): void => {
  if (!holds) throw new Error(what)
}

const bySubject = (events: readonly Told[]): Map<string, Told[]> => Map.groupBy(events, ({ subject }) => subject)

const inOrder = (events: readonly Told[]): void => {
  must(new Set(events.map(({ id }) => id)).size === events.length, 'an event is in the log twice')
  for (const [subject, told] of bySubject(events)) {
    const first = told[0]?.seq ?? 0
    for (const [n, { seq }] of told.entries()) must(seq === first + n, `${subject}: ${told.map((one) => one.seq)} is not in order`)
    must(
      told.every(({ position }, n) => n === 0 || position > (told[n - 1]?.position ?? 0)),
      `${subject}: positions`,
    )
  }
}

/** What an object says of itself when it has just come to be so. */
const statuses: Record<string, readonly string[]> = {
  'subscription.trial_started': ['trialing'],
  'subscription.past_due': ['past_due'],
  'subscription.suspended': ['suspended'],
  'subscription.paused': ['paused'],
  'subscription.canceled': ['canceled'],
  'subscription.expired': ['incomplete_expired'],
  'subscription.activated': ['active'],
  'subscription.recovered': ['active'],
  'payment.succeeded': ['succeeded'],
  'payment.failed': ['failed'],
  'payment.canceled': ['canceled'],
  'payment.refunded': ['succeeded', 'canceled', 'failed'],
  'invoice.paid': ['succeeded'],
  'invoice.voided': ['canceled', 'failed'],
}

const saysSo = ({ type, data }: Told): void => {
  const expected = statuses[type]
  if (expected) must(expected.includes(data.status), `${type} says ${data.status}`)
  if (type === 'entitlement.granted') must(data.entitlements.length > 0 && data.entitlements.every((one: { allowed: boolean }) => one.allowed), type)
  if (type === 'entitlement.revoked') must(data.entitlements.length > 0 && !data.entitlements.some((one: { allowed: boolean }) => one.allowed), type)
}

const count = (told: readonly { type: string }[], ...types: string[]): number => told.filter(({ type }) => types.includes(type)).length

/** Entries of the timeline that are told under their own name. */
const ownNames =
  'created trial_started activated change_scheduled change_taken_back change_declined changed suspended paused resumed resume_declined collection_paused collection_resumed cancel_scheduled cancel_taken_back canceled'.split(
    ' ',
  )

const ofSubscription = ({ id, status, events, eventsMade, bundleId, quantity }: Subscription, told: readonly Told[]): void => {
  // Of a long life, the document has the end.
  const isWhole = events.length === eventsMade
  for (const name of ownNames) {
    const [happened, heard] = [count(events, name), count(told, `subscription.${name}`)]
    must(isWhole ? happened === heard : happened <= heard, `${id}: ${name} happened ${happened} times, and was told ${heard} times`)
  }
  must(isWhole || count(told, 'subscription.created') === 1, `${id}: created`)
  must(count(events, 'incomplete_expired') === count(told, 'subscription.expired'), `${id}: expired`)
  if (isWhole) {
    // What fails and is paid within the same second is neither.
    const [unpaid, recovered] = [
      count(events, 'past_due') - count(told, 'subscription.past_due'),
      count(events, 'recovered') - count(told, 'subscription.recovered'),
    ]
    must(unpaid === recovered && unpaid >= 0, `${id}: ${unpaid} times past_due was left out, and recovered ${recovered} times`)
    must(count(told, 'subscription.renewed') >= count(events, 'renewed', 'recovered') - recovered, `${id}: renewed`)
  }
  must(count(told, 'subscription.recovered') <= count(told, 'subscription.past_due'), `${id}: it recovers from what nobody heard of`)
  const last = told.at(-1)
  must(last?.data.status === status, `${id} is ${status}, and was last heard to be ${last?.data.status}`)
  must(last?.data.bundleId === bundleId && last?.data.quantity === quantity, `${id} has another bundle than was last heard`)
}

const ofPayment = ({ id, status, attempts, refunds, abandoned }: Payment, told: readonly Told[]): void => {
  const is = (type: string, times: number) => must(count(told, type) === times, `${id}, ${status}: ${type} was told ${count(told, type)} times, not ${times}`)
  const paid = attempts.some((attempt) => attempt.status === 'succeeded')
  is('invoice.created', 1)
  must(told[0]?.type === 'invoice.created', `${id} begins with ${told[0]?.type}`)
  is('invoice.paid', status === 'succeeded' ? 1 : 0)
  is('payment.succeeded', status === 'succeeded' && paid ? 1 : 0)
  is('payment.canceled', status === 'canceled' ? 1 : 0)
  if (status !== 'succeeded') is('invoice.voided', status === 'canceled' || (status === 'failed' && abandoned) ? 1 : 0)
  is('payment.refunded', refunds.filter((refund) => refund.status === 'succeeded').length)
  const actions = told.filter(({ type }) => type === 'payment.action_required').length
  must(actions >= attempts.filter((attempt) => attempt.status === 'requires_action').length, `${id}: a bank asks, and nobody heard of it`)
  must(count(told, 'payment.failed') >= (status === 'failed' ? 1 : 0), `${id} has failed, and nobody heard of it`)
}

const ofEntitlements = async ({ storage }: Laboratory, tenantId: string, events: readonly Told[]): Promise<void> => {
  const [set] = (await storage.entitlementSets.page({ where: { tenantId }, limit: 2 })).data
  const held = new Set<string>()
  for (const { type, data } of events) {
    const keys = type.startsWith('entitlement.') ? data.entitlements.map(({ key }: { key: string }) => key) : []
    for (const key of keys) {
      must(held.has(key) !== (type === 'entitlement.granted'), `${type} of ${key}, which ${held.has(key) ? 'is' : 'is not'} held`)
      if (type === 'entitlement.granted') held.add(key)
      if (type === 'entitlement.revoked') held.delete(key)
    }
  }
  const given = set ? decideAll({ ...set, usage: [] } as never, (set.derivedAt ?? set.updatedAt).getTime()).filter(({ decision }) => decision.allowed) : []
  must(given.map(({ key }) => key).join() === [...held].join(), `${[...held]} were told, and ${given.map(({ key }) => key)} are given`)
}

test(`${SEQUENCES} random lives from seed ${FIRST_SEED} are told as they went`, async (t) => {
  t.timeout(60_000 + SEQUENCES * 300)
  let [kills, heard] = [0, 0]
  const types = new Set<string>()
  let laboratory = openLaboratory()
  for (let n = 0; n < SEQUENCES; n += 1) {
    if (n % LIVES === LIVES - 1) {
      await laboratory.close()
      laboratory = openLaboratory()
    }
    const seed = FIRST_SEED + n
    kills += (await play(laboratory, seed, STEPS)).kills
    const tenantId = `t${seed}`
    await laboratory.handOnAll()
    const events = await eventsOf(laboratory, tenantId)
    try {
      inOrder(events)
      for (const event of events) saysSo(event)
      const told = bySubject(events)
      for (const one of (await laboratory.storage.subscriptions.page({ where: { tenantId }, limit: 500 })).data)
        ofSubscription(one, told.get(`/subscriptions/${one.id}`) ?? [])
      const payments = (await laboratory.storage.payments.page({ where: { tenantId }, limit: 500 })).data
      for (const one of payments) ofPayment(one, told.get(`/payments/${one.id}`) ?? [])
      must(
        [...told.keys()].filter((subject) => subject.startsWith('/payments/')).length === payments.length,
        'there are events of payments that there are none of',
      )
      await ofEntitlements(laboratory, tenantId, events)
    } catch (error) {
      throw new Error(
        `seed ${seed}: ${(error as Error).message}\n${events
          .slice(-60)
          .map(({ type, subject, seq }) => `${subject} ${seq} ${type}`)
          .join('\n')}`,
        {
          cause: error,
        },
      )
    }
    heard += events.length
    for (const { type } of events) types.add(type)
  }
  await laboratory.close()
  t.log(`${heard} events of ${types.size} types, ${kills} kills`)
  t.true(heard > 2 * SEQUENCES)
  if (SEQUENCES >= 100) t.true(types.size > 25 && kills > SEQUENCES / 2, 'the lives were worth telling')
})

test('what was stored before events were kept tells nothing of its past, and all that comes after', async (t) => {
  const laboratory = openLaboratory()
  const { storage, services, handOnAll } = laboratory
  const seed = 7
  await play(laboratory, seed, STEPS)
  const tenantId = `t${seed}`
  await handOnAll()
  const before = await eventsOf(laboratory, tenantId)
  laboratory.pass(1_000)
  for (const name of ['subscriptions', 'payments', 'customers', 'entitlementSets', 'bundles'] as const) {
    const where = { tenantId, ...(name === 'customers' || name === 'bundles' ? { storefrontId: 'shop' } : {}) }
    const old = (await storage[name].page({ where, limit: 500 } as never)).data
    t.true(old.length > 0, name)
    for (const document of old) {
      const { told: _, eventSeq: __, outbox: ___, outboxAt: ____, ...untold } = document as typeof document & Partial<Recorded>
      const stored = await storage[name].replace(untold as never)
      laboratory.pass(1_000)
      await services.storage[name].replace(stored as never)
    }
  }
  await handOnAll()
  t.is((await eventsOf(laboratory, tenantId)).length, before.length, 'the first write after an upgrade')
  const [customer] = (await storage.customers.page({ where: { tenantId, storefrontId: 'shop' }, limit: 1 })).data
  if (!customer) return t.fail('nobody was met')
  laboratory.pass(1_000)
  await services.storage.customers.replace({ ...customer, name: 'Ann' })
  await handOnAll()
  const news = (await eventsOf(laboratory, tenantId)).slice(before.length)
  t.deepEqual(
    news.map(({ type }) => type),
    ['customer.updated'],
  )
  await laboratory.close()
})
