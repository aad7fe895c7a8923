/** Grants by hand, and the process dies between any two of the writes and calls that one takes. */

import test, { type ExecutionContext } from 'ava'
import { decide } from '../../common/entitlements/decide.ts'
import { isAppError } from '../../common/errors.ts'
import { createCustomer } from '../../control-plane/customers/customers.ts'
import { eraseCustomer } from '../../control-plane/customers/erase-customer.ts'
import { type GrantInput, giveGrant, removeGrant } from '../../control-plane/entitlements/give-grants.ts'
import { reportUsage } from '../../control-plane/entitlements/report-usage.ts'
import { keys } from '../../control-plane/keys.ts'
import { readUsage } from '../../control-plane/metering/tell-usage.ts'
import type { CustomerGrants } from '../../control-plane/schemas/customer-grants.ts'
import type { Tenant } from '../../control-plane/schemas/tenant.ts'
import { tenantScope } from '../../control-plane/tenant-scope.ts'
import { type Laboratory, openLaboratory, storefront } from './laboratory.ts'

/** Longer than any of it takes. */
const MAX_STEPS = 200
const name = { storefront: 'shop', customer: 'c' }
const customer = { tenantId: 't', storefrontId: 'shop', customerId: 'c' }
const key = keys.customer('t', 'shop', 'c')
const seats: GrantInput = { entitlements: [{ key: 'seats', kind: 'capacity', limit: 5 }], source: 'manual', mode: 'add', reason: 'r' }

const open = async (t: ExecutionContext) => {
  const laboratory = openLaboratory()
  t.teardown(laboratory.close)
  const tenant = await laboratory.newTenant('t', undefined, storefront)
  const of = tenantScope(laboratory.services, tenant)
  await createCustomer(of, 'shop', 'c', { paymentMethods: [] })
  return { laboratory, tenant, of }
}

/** What sidecars are told, and what is stored. */
const seenOf = async ({ storage, feed, services }: Laboratory) => {
  const set = await feed.getSet(customer)
  const decision = set && decide(set, 'seats', 1, services.clock.nowMs())
  const stored = await storage.customerGrants.find(key)
  return { limit: decision?.limit ?? 0, reason: decision?.reason, stored, ids: stored?.living.map(({ id }) => id) ?? [] }
}

/** Dies at each step in turn, until the work comes to its end. @param check what holds after the repair. @returns the deaths. */
const killEverywhere = async (
  t: ExecutionContext,
  work: (laboratory: Laboratory, tenant: Tenant) => Promise<unknown>,
  check: (laboratory: Laboratory, step: number) => Promise<void>,
  before: GrantInput[] = [],
): Promise<number> => {
  for (let step = 1; step < MAX_STEPS; step += 1) {
    const { laboratory, tenant, of } = await open(t)
    for (const [n, input] of before.entries()) await giveGrant(of, name, `before-${n}`, input)
    laboratory.dieAt(step)
    const [outcome] = await Promise.allSettled([work(laboratory, tenant)])
    await laboratory.recover()
    await check(laboratory, step)
    if (outcome.status === 'fulfilled') return step - 1
  }
  return t.fail('it never comes to its end')
}

test('a grant is given whole or not at all, wherever the process dies, and a repeat gives it once', async (t) => {
  for (const before of [[], [{ ...seats, externalId: 'other' }]]) {
    const had = 5 * before.length
    const deaths = await killEverywhere(
      t,
      ({ services }, tenant) => giveGrant(tenantScope(services, tenant), name, 'g', { ...seats, externalId: 'x' }),
      async (laboratory, step) => {
        const { limit, stored, ids } = await seenOf(laboratory)
        t.is(limit, ids.includes('g') ? had + 5 : had, `step ${step}: what is stored is what is told`)
        t.is(stored?.repairAt, undefined)
        const of = tenantScope(laboratory.services, await laboratory.tenant('t'))
        // Whoever repeats the call has the same id; whoever makes another, the same external id.
        const again = await giveGrant(of, name, step % 2 === 0 ? 'g' : 'another', { ...seats, externalId: 'x' })
        t.is(again.grant.id, ids.includes('g') || step % 2 === 0 ? 'g' : 'another')
        const after = await seenOf(laboratory)
        t.deepEqual([after.limit, after.ids.length, after.stored?.repairAt], [had + 5, before.length + 1, undefined])
        t.is((await laboratory.feed.getSet(customer))?.revision, again.entitlementRevision)
      },
      before,
    )
    t.true(deaths > 15, `${deaths} deaths`)
  }
})

test('a grant that is taken back is gone everywhere, or nowhere', async (t) => {
  const deaths = await killEverywhere(
    t,
    ({ services }, tenant) => removeGrant(tenantScope(services, tenant), name, 'before-1', () => {}),
    async (laboratory, step) => {
      const { reason, ids, stored } = await seenOf(laboratory)
      t.is(reason, ids.includes('before-1') ? 'blocked' : 'granted', `step ${step}`)
      t.deepEqual([ids[0], stored?.repairAt], ['before-0', undefined])
    },
    [seats, { ...seats, mode: 'deny' }],
  )
  t.true(deaths > 10, `${deaths} deaths`)
})

test('of two at once nothing is lost, and a mark stays until what it marks is published', async (t) => {
  const { laboratory, tenant, of } = await open(t)
  const scopes = Array.from({ length: 5 }, () => tenantScope({ ...laboratory.services }, tenant))
  await Promise.all(scopes.map((scope, n) => giveGrant(scope, name, `g${n}`, seats)))
  t.is((await seenOf(laboratory)).limit, 25)
  t.is((await seenOf(laboratory)).stored?.repairAt, undefined)
  // Another process has given one more and died, just before the first takes its own mark away.
  const { customerGrants } = laboratory.storage
  const replace: typeof customerGrants.replace = async (grants: CustomerGrants) => {
    if (grants.repairAt) return customerGrants.replace(grants)
    const latest = await customerGrants.get(key)
    const [one] = latest.living
    if (one) await customerGrants.replace({ ...latest, living: [...latest.living, { ...one, id: 'of-the-dead' }] })
    return customerGrants.replace(grants)
  }
  const interrupted = { ...laboratory.services, storage: { ...laboratory.storage, customerGrants: { ...customerGrants, replace } } }
  await giveGrant(tenantScope(interrupted, tenant), name, 'g5', seats)
  t.is((await seenOf(laboratory)).limit, 30)
  await laboratory.recover()
  t.is((await seenOf(laboratory)).limit, 35)
  await removeGrant(of, name, 'of-the-dead', () => {})
  t.is((await seenOf(laboratory)).limit, 30)
})

for (const when of ['before', 'after'] as const) {
  test(`a grant that is stored just ${when} its customer is erased is not given, and nothing of it stays`, async (t) => {
    const { laboratory, tenant } = await open(t)
    const { services, storage, feed } = laboratory
    const erase = () => eraseCustomer(tenantScope(services, tenant), name, () => {}, true)
    const insert: typeof storage.customerGrants.insert = async (grants) => {
      if (when === 'before') await erase()
      const made = await storage.customerGrants.insert(grants)
      if (when === 'after') await erase()
      return made
    }
    const interrupted = { ...services, storage: { ...services.storage, customerGrants: { ...storage.customerGrants, insert } } }
    const error = await t.throwsAsync(giveGrant(tenantScope(interrupted, tenant), name, 'g', seats))
    t.true(isAppError(error, 'not_found', 'not_allowed_in_state'), String(error))
    await laboratory.recover()
    t.is(await storage.customerGrants.find(key), undefined)
    t.is(await feed.getSet(customer), undefined)
  })
}

test('a grant that has ended is put aside by the next write, and what was used of it is forgotten', async (t) => {
  const { laboratory, of } = await open(t)
  const { services, storage } = laboratory
  const until = new Date(services.clock.nowMs() + 60_000).toISOString()
  await giveGrant(of, name, 'short', { ...seats, entitlements: [{ key: 'calls', kind: 'quota', limit: 5, per: 'day' }], until })
  await reportUsage(of, customer, { id: 'use', entitlement: 'calls', change: { add: 2 } })
  t.like((await readUsage(of, customer)).usage[0], { used: 2, subscriptionId: '', sourceId: 'short' })
  laboratory.pass(2 * 86_400_000)
  await giveGrant(of, name, 'next', seats)
  const { living, ended } = await storage.customerGrants.get(key)
  t.deepEqual([living.map(({ id }) => id), ended.map(({ id }) => id)], [['next'], ['short']])
  const set = await laboratory.feed.getSet(customer)
  t.is(set && decide(set, 'calls', 1, services.clock.nowMs()).reason, 'expired')
  await reportUsage(of, customer, { id: 'seat', entitlement: 'seats', change: { add: 1 } })
  t.deepEqual(
    (await storage.usageCounters.get(key)).entries.map((entry) => entry.key),
    ['seats'],
  )
})
