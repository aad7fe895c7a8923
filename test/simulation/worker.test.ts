/** The worker of a live tenant: catching up, taking turns, and giving way. */

import test from 'ava'
import { createLog } from '../../common/log.ts'
import { replaceBundle } from '../../control-plane/catalog/bundles.ts'
import { keys } from '../../control-plane/keys.ts'
import type { Tenant } from '../../control-plane/schemas/tenant.ts'
import { editSubscription } from '../../control-plane/subscriptions/change-subscription.ts'
import { createSubscription } from '../../control-plane/subscriptions/create-subscription.ts'
import { rollOutBundle } from '../../control-plane/subscriptions/roll-out-bundle.ts'
import { tenantScope } from '../../control-plane/tenant-scope.ts'
import { startWorker } from '../../control-plane/worker/worker.ts'
import { createDailyBundle, type Laboratory, openLaboratory, storefront } from './laboratory.ts'

const DAY_MS = 86_400_000
const never = 2 ** 30

const openBusiness = async (laboratory: Laboratory, id: string): Promise<{ tenant: Tenant; sell(count: number): Promise<void> }> => {
  const tenant = await laboratory.newTenant(id, undefined, storefront)
  await createDailyBundle(laboratory, tenant)
  return {
    tenant,
    sell: async (count) => {
      for (let n = 0; n < count; n += 1) {
        await createSubscription(tenantScope(laboratory.services, tenant), `${id}-${n}`, {
          customerId: `c${n}`,
          bundleId: 'daily',
          storefrontId: 'shop',
          paymentMethod: 'good',
        })
      }
    },
  }
}

test('each period missed during days of downtime is billed once, in order', async (t) => {
  const laboratory = openLaboratory()
  t.teardown(laboratory.close)
  const { sell } = await openBusiness(laboratory, 'late')
  await sell(3)
  laboratory.pass(9 * DAY_MS + 5)
  const workers = [startWorker(laboratory.services, { pollMs: never }), startWorker(laboratory.services, { pollMs: never })]
  await Promise.all(workers.map((worker) => worker.runOnce()))
  for (let n = 0; n < 3; n += 1) {
    const { data } = await laboratory.storage.payments.page({ where: { tenantId: 'late', subscriptionId: `late-${n}` }, limit: 100 })
    const starts = data.map(({ period }) => period?.start.getTime() ?? 0)
    t.is(starts.length, 10)
    t.deepEqual(
      starts,
      starts.toSorted((a, b) => a - b),
    )
    t.is(new Set(starts).size, 10)
    t.true(data.every(({ status }) => status === 'succeeded'))
  }
  t.is(laboratory.bank.charges().length, 30)
  await Promise.all(workers.map((worker) => worker.stop()))
})

test('one tenant with a backlog does not make another wait for its end', async (t) => {
  const laboratory = openLaboratory()
  t.teardown(laboratory.close)
  const large = await openBusiness(laboratory, 'large')
  await large.sell(500)
  laboratory.pass(1_000)
  const small = await openBusiness(laboratory, 'small')
  await small.sell(3)
  const before = laboratory.bank.charges().length
  laboratory.pass(DAY_MS)
  const worker = startWorker(laboratory.services, { pollMs: never })
  await worker.runOnce()
  await worker.stop()
  const renewals = laboratory.bank.charges().slice(before)
  t.is(renewals.length, 503)
  const payments = await laboratory.storage.payments.page({ where: { tenantId: 'small' }, limit: 100 })
  const theirs = new Set(payments.data.flatMap(({ attempts }) => attempts.map(({ id }) => id)))
  const last = renewals.findLastIndex(({ reference }) => theirs.has(reference))
  // All that is due of the large one was due earlier, and the small one is served among the first all the same.
  t.true(last < 250, `the small tenant was served after ${last} charges`)
})

test('failing work is set aside, and a set that cannot be published does not hide the rest', async (t) => {
  const laboratory = openLaboratory()
  t.teardown(laboratory.close)
  const { sell } = await openBusiness(laboratory, 'dark')
  await sell(250)
  // A feed that is away leaves every one of them with something to repair.
  const feed = { ...laboratory.services.feed }
  const { AppError } = await import('../../common/errors.ts')
  const dark = { ...laboratory.services, feed: { ...feed, putSet: () => Promise.reject(new AppError('unavailable', 'no feed')) } }
  laboratory.pass(DAY_MS)
  const worker = startWorker(dark, { pollMs: never })
  await worker.runOnce()
  await worker.stop()
  const unpublished = await laboratory.storage.subscriptions.due({ by: 'repairAt', until: new Date('2100-01-01'), limit: 500 })
  t.is(unpublished.length, 250)
  t.is(laboratory.bank.charges().length, 500, 'all were renewed')
  laboratory.pass(60_000)
  const lit = startWorker(laboratory.services, { pollMs: never })
  await lit.runOnce()
  await lit.stop()
  t.is((await laboratory.storage.subscriptions.due({ by: 'repairAt', until: new Date('2100-01-01'), limit: 500 })).length, 0)
  const set = await laboratory.feed.getSet({ tenantId: 'dark', storefrontId: 'shop', customerId: 'c249' })
  const stored = await laboratory.storage.entitlementSets.get(keys.customer('dark', 'shop', 'c249'))
  t.is(set?.revision, stored.revision)
})

test('work that fails is counted by its lane, and what is due of it stays to be seen', async (t) => {
  const laboratory = openLaboratory()
  t.teardown(laboratory.close)
  const { sell } = await openBusiness(laboratory, 'broken')
  await sell(3)
  laboratory.pass(DAY_MS + 5_000)
  const { storage } = laboratory
  const broken = { ...storage, payments: { ...storage.payments, insert: () => Promise.reject(new Error('broken')) } }
  const worker = startWorker({ ...laboratory.services, storage: broken, log: createLog('silent') }, { pollMs: never })
  await worker.runOnce()
  t.deepEqual([worker.failed().get('subscriptions'), worker.done().get('subscriptions')], [3, undefined])
  // Each has its claim, and a lease.
  laboratory.pass(60_000)
  const left = (await worker.backlog()).find(({ lane }) => lane === 'repair subscriptions')
  t.is(left?.due, 3)
  t.true((left?.oldest?.getTime() ?? 0) > laboratory.services.clock.nowMs() - 60_000)
  await worker.stop()
})

test('a repair does not wait for a backlog of business, nor a quick provider for a slow one', async (t) => {
  const laboratory = openLaboratory()
  t.teardown(laboratory.close)
  const { tenant, sell } = await openBusiness(laboratory, 'busy')
  await sell(300)
  const { services, storage } = laboratory
  await createSubscription(tenantScope(services, tenant), 'left', { customerId: 'left', bundleId: 'daily', storefrontId: 'shop', paymentMethod: 'good' })
  laboratory.pass(DAY_MS)
  // Half-done by a process that is no more; not due by itself for another day.
  const left = await storage.subscriptions.get(keys.subscription('busy', 'left'))
  await storage.subscriptions.replace({ ...left, dueAt: new Date(laboratory.services.clock.nowMs() + DAY_MS), repairAt: services.clock.now() })
  const bank = laboratory.bank
  const before = bank.charges().length
  const worker = startWorker(services, { pollMs: never, atOnce: 8 })
  const repaired = async () => !(await storage.subscriptions.get(keys.subscription('busy', 'left'))).repairAt
  while (!(await repaired())) await new Promise((resolve) => setTimeout(resolve, 1))
  const made = bank.charges().length - before
  await worker.stop()
  t.true(made < 250, `${made} of 300 renewals were made first`)
})

test('renewals of one customer at once share their publications, and every one of them is in the set', async (t) => {
  const laboratory = openLaboratory()
  t.teardown(laboratory.close)
  await openBusiness(laboratory, 'one')
  const { services, storage } = laboratory
  const tenant = await storage.tenants.get(keys.tenant('one'))
  const order = { customerId: 'only', bundleId: 'daily', storefrontId: 'shop', paymentMethod: 'good' }
  for (let n = 0; n < 120; n += 1) await createSubscription(tenantScope(services, tenant), `s-${n}`, order)
  laboratory.pass(DAY_MS)
  let puts = 0
  const feed = {
    ...laboratory.feed,
    putSet: async (set: Parameters<typeof laboratory.feed.putSet>[0]) => {
      puts += 1
      await new Promise((resolve) => setTimeout(resolve, 5))
      return laboratory.feed.putSet(set)
    },
  }
  const worker = startWorker({ ...services, feed }, { pollMs: never, atOnce: 40 })
  await worker.runOnce()
  await worker.stop()
  const renewed = await storage.payments.page({ where: { tenantId: 'one' }, limit: 500 })
  t.is(renewed.data.filter(({ status }) => status === 'succeeded').length, 240)
  t.true(puts < 60, `${puts} publications for 120 renewals`)
  const stored = await storage.entitlementSets.get(keys.customer('one', 'shop', 'only'))
  t.is((await laboratory.feed.getSet({ tenantId: 'one', storefrontId: 'shop', customerId: 'only' }))?.revision, stored.revision)
  t.is((await storage.subscriptions.due({ by: 'repairAt', until: new Date('2100-01-01'), limit: 500 })).length, 0)
})

test('few documents of a backlog of many tenants are held at once, and as many are worked on as configured', async (t) => {
  const laboratory = openLaboratory()
  t.teardown(laboratory.close)
  for (let n = 0; n < 60; n += 1) await (await openBusiness(laboratory, `tenant-${n}`)).sell(22)
  laboratory.pass(DAY_MS)
  let [held, most, inHand, mostInHand, given] = [0, 0, 0, 0, 0]
  const { storage } = laboratory
  const subscriptions = {
    ...storage.subscriptions,
    due: async (query: Parameters<typeof storage.subscriptions.due>[0]) => {
      const found = await storage.subscriptions.due(query)
      if (query.by !== 'dueAt' || !query.where?.tenantId) return found
      held += found.length
      most = Math.max(most, held)
      return found
    },
  }
  // Every document is let go of when its work begins.
  const tenants = {
    ...storage.tenants,
    get: async (id: string) => {
      held -= 1
      given += 1
      inHand += 1
      mostInHand = Math.max(mostInHand, inHand)
      await new Promise((resolve) => setTimeout(resolve, 5))
      inHand -= 1
      return storage.tenants.get(id)
    },
  }
  const worker = startWorker({ ...laboratory.services, storage: { ...storage, subscriptions, tenants } }, { pollMs: never, atOnce: 16 })
  await worker.runOnce()
  await worker.stop()
  t.true(given >= 60 * 22)
  t.true(most <= 20 * (8 + 2) + 16, `${most} documents were held at once`)
  t.true(mostInHand >= 12, `${mostInHand} at once`)
})

test('a worker that is told to stop finishes what it has begun and begins nothing more', async (t) => {
  const laboratory = openLaboratory()
  t.teardown(laboratory.close)
  const { sell } = await openBusiness(laboratory, 'stopped')
  await sell(300)
  laboratory.pass(DAY_MS)
  const worker = startWorker(laboratory.services, { pollMs: never, atOnce: 16 })
  const running = worker.runOnce()
  await new Promise((resolve) => setTimeout(resolve, 30))
  await worker.stop()
  await running
  const made = laboratory.bank.charges().length - 300
  t.true(made < 300, `it went on to the end: ${made}`)
  const { data } = await laboratory.storage.payments.page({ where: { tenantId: 'stopped' }, limit: 500 })
  t.true(
    data.every(({ status }) => status === 'succeeded'),
    'nothing is half-done',
  )
})

test('a version for all subscribers goes on after every kill, and moves each of them', async (t) => {
  const laboratory = openLaboratory()
  t.teardown(laboratory.close)
  const { tenant, sell } = await openBusiness(laboratory, 'rollout')
  await sell(230)
  const { services, storage } = laboratory
  const bundle = {
    name: 'daily',
    pricing: { amountMinor: 150, currency: 'USD', interval: 'day' as const, intervalCount: 1 },
    entitlements: [{ key: 'new', kind: 'flag' as const, enabled: true }],
    trialDays: 0,
    refundEndsAccess: false,
  }
  await replaceBundle(tenantScope(services, tenant), 'shop', 'daily', () => {}, bundle, 'all')
  const id = keys.bundle('rollout', 'shop', 'daily')
  let kills = 0
  for (;;) {
    const stored = await storage.bundles.get(id)
    if (!stored.repairAt) break
    laboratory.pass(60_000)
    laboratory.dieAt(700)
    const outcome = await Promise.allSettled([rollOutBundle(tenantScope(services, tenant), stored)])
    if (outcome[0].status === 'rejected') kills += 1
    laboratory.dieAt(undefined)
    // What is moved stays moved: whoever takes over begins with the batch that was cut off.
    if (kills > 50) t.fail('it makes no progress')
  }
  t.true(kills > 3, `${kills} kills`)
  await laboratory.recover()
  const { rollout, version } = await storage.bundles.get(id)
  t.is(version, 2)
  t.is(rollout?.seen, 230)
  t.truthy(rollout?.finishedAt)
  for (let n = 0; n < 230; n += 1) {
    t.like(await storage.subscriptions.get(keys.subscription('rollout', `rollout-${n}`)), {
      bundleVersion: 2,
      pricing: { amountMinor: 150 },
      repairAt: undefined,
    })
    const set = await laboratory.feed.getSet({ tenantId: 'rollout', storefrontId: 'shop', customerId: `c${n}` })
    t.deepEqual(
      set?.grants.map((grant) => grant.key),
      ['new'],
    )
  }
})

test('a worker that comes a little late makes the last retry all the same', async (t) => {
  const laboratory = openLaboratory()
  t.teardown(laboratory.close)
  const { tenant } = await openBusiness(laboratory, 'unlucky')
  const order = { customerId: 'c', bundleId: 'daily', storefrontId: 'shop', paymentMethod: 'good' }
  await createSubscription(tenantScope(laboratory.services, tenant), 'unlucky', order)
  await editSubscription(tenantScope(laboratory.services, tenant), { id: 'cmd', subscriptionId: 'unlucky', check: () => {} }, { paymentMethod: 'funds' })
  const worker = startWorker(laboratory.services, { pollMs: never })
  await worker.runOnce()
  for (const days of [1, 1, 2, 4]) {
    laboratory.pass(days * DAY_MS + 700)
    await worker.runOnce()
  }
  await worker.stop()
  const { data } = await laboratory.storage.payments.page({ where: { tenantId: 'unlucky', subscriptionId: 'unlucky' }, limit: 10 })
  t.is(data[1]?.attempts.length, 4)
  t.like(await laboratory.storage.subscriptions.get(keys.subscription('unlucky', 'unlucky')), { status: 'canceled', endReason: 'unpaid' })
})
