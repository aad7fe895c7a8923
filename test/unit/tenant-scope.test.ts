import test from 'ava'
import { ownKeysOf } from '../../control-plane/keys.ts'
import { ownCollections } from '../../control-plane/storage/own-collections.ts'
import { createSqliteStorage } from '../../control-plane/storage/sqlite.ts'
import { update } from '../../control-plane/storage/update.ts'

const at = new Date('2030-01-01T00:00:00Z')
const clock = { now: () => at, nowMs: () => at.getTime() }

/** A role of each of two tenants under the same id, and the collections as the first of them may use them. */
const open = async () => {
  const storage = createSqliteStorage({ path: ':memory:', clock })
  const role = (tenantId: string) => ({ _id: `${tenantId}/r`, tenantId, createdAt: at, id: 'r', name: 'r', permissions: ['catalog:read'] })
  const [mine, others] = [await storage.roles.insert(role('a')), await storage.roles.insert(role('ab'))]
  return { storage, own: ownCollections(storage, 'a'), role, mine, others }
}

const refused = { message: /does not belong to the tenant a$/ }

test("a tenant's ids are its own, and those of the platform cannot be asked for", (t) => {
  const keys = ownKeysOf('a/b')
  t.is(keys.customer('shop', 'c d'), 'a%2Fb/shop/c%20d')
  t.is(keys.tenant(), 'a%2Fb')
})

test("a tenant's collections read and write its own documents", async (t) => {
  const { own, mine, role } = await open()
  t.deepEqual(await own.roles.get('a/r'), mine)
  t.deepEqual((await own.roles.page({ where: { tenantId: 'a' }, limit: 10 })).data, [mine])
  const changed = await own.roles.replace({ ...mine, name: 'renamed' })
  t.is((await update(own.roles, 'a/r', (latest) => ({ ...latest, name: `${latest.name} twice` }), changed)).name, 'renamed twice')
  const made = await own.roles.insert({ ...role('a'), _id: 'a/other', id: 'other' })
  await own.roles.remove(made)
  t.is(await own.roles.find('a/other'), undefined)
})

test("every method refuses another tenant's document, whatever it is named by, and changes nothing", async (t) => {
  const { storage, own, mine, others, role } = await open()
  for (const refusedCall of [
    () => own.roles.get('ab/r'),
    () => own.roles.find('ab/r'),
    () => own.roles.find('ab/none'),
    () => own.roles.replace({ ...others, name: 'stolen' }),
    () => own.roles.replace({ ...mine, tenantId: 'ab' }),
    () => own.roles.remove(others),
    () => own.roles.insert({ ...role('ab'), _id: 'ab/new', id: 'new' }),
    () => own.roles.insert({ ...role('ab'), _id: 'a/new', id: 'new' }),
    () => own.roles.page({ where: { tenantId: 'ab' }, limit: 10 }),
    () => own.tenants.page({ where: {}, limit: 10 }),
    () => own.payments.due({ by: 'repairAt', until: at, limit: 10 }),
    () => own.payments.due({ by: 'dueAt', where: { clock: 'system' }, until: at, limit: 10 }),
    () => update(own.roles, 'ab/r', (latest) => ({ ...latest, name: 'stolen' })),
  ])
    await t.throwsAsync(refusedCall, refused, String(refusedCall))
  t.deepEqual((await storage.roles.page({ where: { tenantId: 'a' }, limit: 10 })).data, [mine])
  t.deepEqual((await storage.roles.page({ where: { tenantId: 'ab' }, limit: 10 })).data, [others])
})

test('writers of one document take turns, through whichever view they write', async (t) => {
  const { storage, own } = await open()
  const another = ownCollections(storage, 'a')
  const views = [storage.roles, own.roles, another.roles]
  let decided = 0
  await Promise.all(
    Array.from({ length: 30 }, (_, n) =>
      update(views[n % views.length] as (typeof views)[number], 'a/r', (latest) => {
        decided += 1
        return { ...latest, name: `${latest.name}+` }
      }),
    ),
  )
  t.is((await storage.roles.get('a/r')).name, `r${'+'.repeat(30)}`)
  t.is(decided, 30, 'none has written for nothing')
})
