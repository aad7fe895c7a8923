import type { Tenant } from '../../control-plane/schemas/tenant.ts'
/**
 * A customer's set is made of fewer subscriptions than it ever had (`sourcesOf`), and is the set that all of them make:
 * random customers who buy, end, pause, use and inherit, while the process dies wherever it likes.
 *
 *   ENDED_SEQUENCES=500 ENDED_SEED=1 npx ava test/simulation/ended-subscriptions.test.ts
 */

import test from 'ava'
import { deriveGrants } from '../../common/entitlements/derive.ts'
import { isAppError } from '../../common/errors.ts'
import { createBundle } from '../../control-plane/catalog/bundles.ts'
import { usageOf } from '../../control-plane/entitlements/allowances.ts'
import { reportUsage } from '../../control-plane/entitlements/report-usage.ts'
import { accessOfSubscription } from '../../control-plane/entitlements/subscription-access.ts'
import { keys } from '../../control-plane/keys.ts'
import { readUsage } from '../../control-plane/metering/tell-usage.ts'
import type { Services } from '../../control-plane/ports.ts'
import { all } from '../../control-plane/storage/every.ts'
import { cancelSubscription, changeSubscription, pauseSubscription, resumeSubscription } from '../../control-plane/subscriptions/change-subscription.ts'
import { createSubscription } from '../../control-plane/subscriptions/create-subscription.ts'
import { tenantScope } from '../../control-plane/tenant-scope.ts'
import { moveTestClock } from '../../control-plane/work/move-test-clock.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { Killed, type Laboratory, openLaboratory, storefront } from './laboratory.ts'

const SEQUENCES = Number(process.env.ENDED_SEQUENCES ?? 40)
const FIRST_SEED = Number(process.env.ENDED_SEED ?? Date.now() % 1_000_000)
const STEPS = 40
const DAY_MS = 86_400_000
const START = new Date('2024-03-01T00:00:00Z')

const quota = (key: string, per: 'day' | 'month') => ({ key, kind: 'quota' as const, limit: 100, per })
const bundles = {
  small: [quota('calls', 'month')],
  large: [quota('calls', 'month'), { key: 'seats', kind: 'capacity' as const, limit: 5 }],
  daily: [quota('calls', 'day'), { key: 'beta', kind: 'flag' as const, enabled: true }],
  other: [{ key: 'beta', kind: 'flag' as const, enabled: true }],
}

const createBundles = async (services: Services, tenant: Tenant) => {
  for (const [id, entitlements] of Object.entries(bundles))
    await createBundle(tenantScope(services, tenant), 'shop', id, {
      name: id,
      pricing: { amountMinor: 3_000, currency: 'USD', interval: 'month', intervalCount: 1 },
      entitlements,
      trialDays: 0,
      refundEndsAccess: false,
    })
}

/** @returns how many subscriptions had ended, and how many of them had handed credit on. */
const play = async (laboratory: Laboratory, seed: number): Promise<{ ended: number; heirs: number }> => {
  const random = seededRandom(seed)
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T
  const { services, storage } = laboratory
  const tenantId = `e${seed}`
  await createBundles(services, await laboratory.newTenant(tenantId, START, storefront))
  const tenant = () => laboratory.tenant(tenantId)
  const customer = { tenantId, storefrontId: 'shop', customerId: 'c' }
  const ids: string[] = []
  const story: string[] = []
  let made = 0

  const insist = async (name: string, work: () => Promise<unknown>): Promise<void> => {
    story.push(name)
    for (;;) {
      if (random() < 0.3) laboratory.dieAt(1 + Math.floor(random() * 40))
      const [result] = await Promise.allSettled([work()])
      laboratory.dieAt(undefined)
      if (result.status === 'fulfilled') break
      if (isAppError(result.reason, 'not_allowed_in_state', 'invalid_request', 'unknown_reference')) break
      if (!(result.reason instanceof Killed)) throw result.reason
      // Nobody asks again, and what comes next comes before what was left is made good.
      if (random() < 0.5) return
      await laboratory.recover()
    }
  }
  const order = () => {
    made += 1
    return { id: `cmd${made}`, subscriptionId: pick(ids), check: () => {} }
  }
  const subscribe = async () => {
    made += 1
    const id = `s${made}`
    const input = { customerId: 'c', bundleId: pick(Object.keys(bundles)), storefrontId: 'shop', paymentMethod: pick(['good', 'good', 'good', 'funds', 'sca']) }
    await insist(`${id} of ${input.bundleId}`, async () => createSubscription(tenantScope(services, await tenant()), id, input))
    if (await storage.subscriptions.find(keys.subscription(tenantId, id))) ids.push(id)
  }
  const acts: (() => Promise<void>)[] = [
    subscribe,
    subscribe,
    () => {
      const one = order()
      const credit = pick(['none', 'prorate'] as const)
      return insist(`end ${one.subscriptionId}, ${credit}`, async () => cancelSubscription(tenantScope(services, await tenant()), one, 'now', credit))
    },
    () => {
      const one = order()
      return insist(`end ${one.subscriptionId}`, async () => cancelSubscription(tenantScope(services, await tenant()), one, 'now', 'prorate'))
    },
    () => {
      const one = order()
      return insist(`pause ${one.subscriptionId}`, async () => pauseSubscription(tenantScope(services, await tenant()), one, { what: 'service' }))
    },
    () => {
      const one = order()
      return insist(`resume ${one.subscriptionId}`, async () => resumeSubscription(tenantScope(services, await tenant()), one))
    },
    () => {
      const one = order()
      const bundleId = pick(Object.keys(bundles))
      return insist(`${one.subscriptionId} to ${bundleId}`, async () => changeSubscription(tenantScope(services, await tenant()), one, { bundleId, at: 'now' }))
    },
    () => {
      made += 1
      const report = { id: `r${made}`, entitlement: pick(['calls', 'calls', 'seats']), change: { add: pick([1, 7, 30]) } }
      return insist(`use ${report.change.add} ${report.entitlement}`, async () => reportUsage(tenantScope(services, await tenant()), customer, report))
    },
    async () => {
      const target = new Date(((await tenant()).testNow as Date).getTime() + pick([DAY_MS / 4, DAY_MS, 12 * DAY_MS, 40 * DAY_MS]))
      return insist(`until ${target.toISOString()}`, async () => moveTestClock(tenantScope(services, await tenant()), target))
    },
  ]

  while (ids.length === 0) await subscribe()
  for (let step = 0; step < STEPS; step += 1) {
    await pick(acts)()
    if (random() < 0.5) continue
    await laboratory.recover()
    const subscriptions = await all(storage.subscriptions, customer)
    const counters = await storage.usageCounters.find(keys.customer(tenantId, 'shop', 'c'))
    const grants = deriveGrants(subscriptions.map(accessOfSubscription))
    const isHeld = (key: string, id?: string) => grants.some((grant) => grant.key === key && (id === undefined || grant.subscriptionId === id))
    const usage = usageOf(counters?.entries ?? [], subscriptions, isHeld)
    const set = await laboratory.feed.getSet(customer)
    // What was used is told beside the set, of the same subscriptions.
    const now = await readUsage(tenantScope(services, await tenant()), customer)
    const [told, expected] = [
      { grants: set?.grants ?? [], usage: now.usage },
      { grants, usage },
    ].map((one) => JSON.stringify(one))
    if (told !== expected) throw new Error(`seed ${seed}: published ${told}\nand all make ${expected}\n${story.join('\n')}`)
  }
  const subscriptions = await all(storage.subscriptions, customer)
  return { ended: subscriptions.filter(({ endedAt }) => endedAt).length, heirs: subscriptions.filter(({ inherited }) => inherited?.length).length }
}

test('a set made of the subscriptions that still matter is the one that all of them make', async (t) => {
  t.timeout(30 * 60_000)
  t.log(`ENDED_SEQUENCES=${SEQUENCES} ENDED_SEED=${FIRST_SEED}`)
  let [ended, heirs] = [0, 0]
  for (let n = 0; n < SEQUENCES; n += 1) {
    const laboratory = openLaboratory()
    const played = await play(laboratory, FIRST_SEED + n)
    ended += played.ended
    heirs += played.heirs
    await laboratory.close()
  }
  t.log(`${ended} subscriptions had ended, ${heirs} had inherited`)
  t.true(ended > SEQUENCES && heirs > SEQUENCES / 4)
})

test('a subscription that ends before anybody has published it is not forgotten, wherever the process died', async (t) => {
  let [step, revoked, isDone] = [0, 0, false]
  while (!isDone) {
    step += 1
    const laboratory = openLaboratory()
    const { services, storage } = laboratory
    const tenant = await laboratory.newTenant('t', START, storefront)
    await createBundles(services, tenant)
    const customer = { tenantId: 't', storefrontId: 'shop', customerId: 'c' }
    const buy = (id: string, bundleId: string) =>
      createSubscription(tenantScope(services, tenant), id, { customerId: 'c', bundleId, storefrontId: 'shop', paymentMethod: 'good' })
    await buy('first', 'other')
    laboratory.dieAt(step)
    const [outcome] = await Promise.allSettled([buy('second', 'large')])
    laboratory.dieAt(undefined)
    isDone = outcome.status === 'fulfilled'
    if (await storage.subscriptions.find(keys.subscription('t', 'second')))
      await cancelSubscription(tenantScope(services, tenant), { id: 'end', subscriptionId: 'second', check: () => {} }, 'now')
    await laboratory.recover()
    const subscriptions = await all(storage.subscriptions, customer)
    const grants = deriveGrants(subscriptions.map(accessOfSubscription))
    t.deepEqual((await laboratory.feed.getSet(customer))?.grants, grants, `step ${step}`)
    revoked += grants.filter(({ inactive }) => inactive).length
    await laboratory.close()
  }
  t.true(step > 20 && revoked > 10, `${step} steps, ${revoked}`)
})

test('subscriptions that have ended cost a living one nothing', async (t) => {
  const laboratory = openLaboratory()
  const { services } = laboratory
  const tenant = await laboratory.newTenant('t', START, storefront)
  await createBundles(services, tenant)
  const customer = { tenantId: 't', storefrontId: 'shop', customerId: 'c' }
  const buy = (id: string) =>
    createSubscription(tenantScope(services, tenant), id, { customerId: 'c', bundleId: 'large', storefrontId: 'shop', paymentMethod: 'good' })
  let read = 0
  const subscriptions = {
    ...services.storage.subscriptions,
    page: async (query: Parameters<typeof services.storage.subscriptions.page>[0]) => {
      const page = await services.storage.subscriptions.page(query)
      read += page.data.length
      return page
    },
    find: (id: string) => {
      read += 1
      return services.storage.subscriptions.find(id)
    },
  }
  const counting: Services = { ...services, storage: { ...services.storage, subscriptions } }
  /** How many subscriptions are read while one of them is used, and paused and resumed, so that its set is published. */
  const cost = async (id: string): Promise<number> => {
    read = 0
    await reportUsage(tenantScope(counting, tenant), customer, { id: `use-${id}`, entitlement: 'calls', change: { add: 1 } })
    await pauseSubscription(tenantScope(counting, tenant), { id: `pause-${id}`, subscriptionId: id, check: () => {} }, { what: 'service' })
    await resumeSubscription(tenantScope(counting, tenant), { id: `resume-${id}`, subscriptionId: id, check: () => {} })
    return read
  }
  await buy('first')
  const alone = await cost('first')
  for (let n = 0; n < 30; n += 1) {
    await buy(`s${n}`)
    await cancelSubscription(tenantScope(services, tenant), { id: `end-${n}`, subscriptionId: `s${n}`, check: () => {} }, 'now')
  }
  t.true(alone > 0)
  // The one that ended last is kept in mind.
  const beside = await cost('first')
  t.true(beside <= 2 * alone, `${alone} are read when it is alone, ${beside} beside 30 that have ended`)
  await laboratory.close()
})
