/**
 * What every storage adapter owes, as `storage.ts` says it. An adapter's own test is a few lines that make one.
 */
import type { ExecutionContext, TestFn } from 'ava'
import { type AppError, type ErrorCode, isAppError } from '../../common/errors.ts'
import type { ApiKey } from '../../control-plane/schemas/api-key.ts'
import type { Customer } from '../../control-plane/schemas/customer.ts'
import type { Subscription } from '../../control-plane/schemas/subscription.ts'
import type { New, Storage } from '../../control-plane/storage/storage.ts'
import { insertOrGet, update } from '../../control-plane/storage/update.ts'

export interface StorageUnderTest {
  name: string
  /** Two handles on one store, as two processes would have; `missing` is why there is none to be had. */
  open?: () => Promise<{ a: Storage; b: Storage; close(): Promise<void> }>
  missing?: string
}

let made = 0
const at = new Date('2024-03-15T10:00:00.123Z')

const customer = (change: Partial<Customer> = {}): New<Customer> => {
  made += 1
  const id = change.id ?? `c${made}`
  const tenantId = change.tenantId ?? `t${made}`
  return { _id: `${tenantId}/sf/${id}`, tenantId, storefrontId: 'sf', id, paymentMethods: [], createdAt: at, ...change }
}

const apiKey = (secretHash: string): New<ApiKey> => {
  made += 1
  return { _id: `t/key${made}`, tenantId: 't', id: `key${made}`, role: 'read', secretHash, createdAt: at }
}

const subscription = (change: Partial<Subscription> = {}): New<Subscription> => {
  made += 1
  const id = `s${made}`
  const tenantId = change.tenantId ?? `t${made}`
  return {
    _id: `${tenantId}/${id}`,
    tenantId,
    id,
    storefrontId: 'sf',
    customerId: 'c',
    bundleId: 'b',
    bundleVersion: 1,
    pricing: { amountMinor: 2900, currency: 'USD', interval: 'month', intervalCount: 1 },
    entitlements: [{ key: 'k', kind: 'quota', limit: null, per: 'month' }],
    status: 'active',
    anchor: at,
    timeZone: 'UTC',
    currentPeriod: { index: 0, start: at, end: at, wholeStart: at, wholeEnd: at, ownBill: 0, firstBill: 0, creditableMinor: 0, refunds: [] },
    billing: { graceHours: 72, retryHours: [24], firstPaymentHours: 23, proration: 'day', maxAttempts: 15, maxAttemptsDays: 30 },
    quantity: 1,
    refundEndsAccess: false,
    billMissed: false,
    creditMinor: 0,
    creditRefundedMinor: 0,
    billsMade: 0,
    bills: [],
    events: [],
    eventsMade: 0,
    recentCommands: [],
    cancelAtPeriodEnd: false,
    clock: 'system',
    createdAt: at,
    ...change,
  }
}

export const testStorage = (test: TestFn, adapter: StorageUnderTest): void => {
  const { open } = adapter
  if (!open) {
    test.skip(`storage on ${adapter.name} (${adapter.missing})`, () => {})
    return
  }
  const opened = open()
  const check = (title: string, run: (t: ExecutionContext, store: Storage, other: Storage) => Promise<void>) => {
    test(`${adapter.name}: ${title}`, async (t) => {
      const { a, b } = await opened
      await run(t, a, b)
    })
  }
  test.after.always(`${adapter.name}: close`, async () => (await opened).close())
  const code = (t: ExecutionContext, work: Promise<unknown>, expected: ErrorCode) =>
    t.throwsAsync(work, { name: 'AppError' }).then((error) => t.is((error as unknown as AppError).code, expected))

  check('a document comes back as it was stored, dates and nested parts included', async (t, store) => {
    const made = subscription({ trialEnd: at, dueAt: at, metadata: { a: 'b' } })
    const stored = await store.subscriptions.insert(made)
    t.is(stored.revision, 1)
    t.true(stored.updatedAt instanceof Date)
    const read = await store.subscriptions.get(made._id)
    t.deepEqual(read, stored)
    t.deepEqual(read.currentPeriod.start, at)
    t.deepEqual(read.entitlements[0], { key: 'k', kind: 'quota', limit: null, per: 'month' })
    t.false('graceUntil' in read, 'an optional field that was not given is absent')
  })

  check('dates inside arrays come back as dates', async (t, store) => {
    const { _id } = await store.usageCounters.insert({
      _id: `u/${made++}`,
      tenantId: 'u',
      storefrontId: 'sf',
      customerId: 'c',
      entries: [{ key: 'k', used: 1, until: at }],
      recentReports: [],
      createdAt: at,
    })
    t.deepEqual((await store.usageCounters.get(_id)).entries[0]?.until, at)
  })

  check("the schema's defaults are applied, and undefined is absent", async (t, store) => {
    const { cancelAtPeriodEnd: _, ...rest } = subscription()
    const stored = await store.subscriptions.insert({ ...rest, dueAt: undefined } as New<Subscription>)
    const read = await store.subscriptions.get(stored._id)
    t.false(read.cancelAtPeriodEnd)
    t.false('dueAt' in read)
  })

  check('what its schema does not allow is not stored', async (t, store) => {
    const wrong = [
      { ...subscription(), status: 'asleep' },
      { ...subscription(), unknownField: 1 },
      { ...subscription(), anchor: 'no date' },
      { ...subscription(), pricing: { amountMinor: -1, currency: 'USD', interval: 'month', intervalCount: 1 } },
    ]
    for (const document of wrong) {
      await t.throwsAsync(store.subscriptions.insert(document as never))
      t.is(await store.subscriptions.find(document._id), undefined)
    }
    const stored = await store.subscriptions.insert(subscription())
    await t.throwsAsync(store.subscriptions.replace({ ...stored, status: 'asleep' } as never))
    t.deepEqual(await store.subscriptions.get(stored._id), stored)
  })

  check('get says not_found, find says undefined', async (t, store) => {
    await code(t, store.customers.get('nobody/sf/c'), 'not_found')
    t.is(await store.customers.find('nobody/sf/c'), undefined)
  })

  check('a second document under one id is refused, and the first stays', async (t, store) => {
    const first = await store.customers.insert(customer({ email: 'a@example.com' }))
    await code(t, store.customers.insert({ ...customer(), _id: first._id }), 'already_exists')
    t.is((await store.customers.get(first._id)).email, 'a@example.com')
    t.deepEqual(await insertOrGet(store.customers, { ...customer(), _id: first._id }), first)
  })

  check('of two that say at the same moment of what kind a key is, one is believed by both', async (t, store, other) => {
    made += 1
    const kind = { _id: `k${made}/sf/seats`, tenantId: `k${made}`, storefrontId: 'sf', key: 'seats', bundleId: 'b', createdAt: at }
    const [a, b] = await Promise.all([
      insertOrGet(store.entitlementKinds, { ...kind, kind: 'flag' }),
      insertOrGet(other.entitlementKinds, { ...kind, kind: 'quota' }),
    ])
    t.deepEqual(a, b)
  })

  check('a declared unique field is unique, on insert and on replace, and can be looked up', async (t, store) => {
    const hash = `hash${made}`
    const first = await store.apiKeys.insert(apiKey(hash))
    await code(t, store.apiKeys.insert(apiKey(hash)), 'already_exists')
    const other = await store.apiKeys.insert(apiKey(`${hash}-other`))
    // Refused by every server; not every one says as what.
    await t.throwsAsync(store.apiKeys.replace({ ...other, secretHash: hash }))
    t.deepEqual(await store.apiKeys.get(other._id), other)
    t.deepEqual(await store.apiKeys.findUnique('secretHash', hash), first)
    t.is(await store.apiKeys.findUnique('secretHash', 'none'), undefined)
    await t.throwsAsync(store.apiKeys.findUnique('role', 'read'), { message: /not declared unique/ })
  })

  check('replace raises the revision by one and refuses a stale one', async (t, store) => {
    const first = await store.customers.insert(customer())
    const second = await store.customers.replace({ ...first, email: 'new@example.com' })
    t.is(second.revision, 2)
    t.deepEqual(await store.customers.get(first._id), second)
    await code(t, store.customers.replace({ ...first, email: 'stale@example.com' }), 'revision_conflict')
    t.is((await store.customers.get(first._id)).email, 'new@example.com')
    await code(t, store.customers.replace({ ...first, _id: 'gone/sf/c' }), 'not_found')
  })

  check('an optional field can be taken away', async (t, store) => {
    const first = await store.customers.insert(customer({ repairAt: at }))
    await store.customers.replace({ ...first, repairAt: undefined })
    t.false('repairAt' in (await store.customers.get(first._id)))
    t.deepEqual(await store.customers.due({ by: 'repairAt', until: at, limit: 500 }).then((due) => due.filter(({ _id }) => _id === first._id)), [])
  })

  check('of two writers that read the same revision exactly one wins, and the other is told', async (t, store, other) => {
    for (let round = 0; round < 20; round += 1) {
      const { _id } = await store.customers.insert(customer())
      const [mine, theirs] = await Promise.all([store.customers.get(_id), other.customers.get(_id)])
      const results = await Promise.allSettled([
        store.customers.replace({ ...mine, email: 'mine@example.com' }),
        other.customers.replace({ ...theirs, email: 'theirs@example.com' }),
      ])
      const [won] = results.filter((result) => result.status === 'fulfilled')
      const [lost] = results.filter((result) => result.status === 'rejected')
      t.true(isAppError(lost?.reason, 'revision_conflict'))
      t.deepEqual(await store.customers.get(_id), won?.value)
    }
  })

  check('of two writers of one new id exactly one wins', async (t, store, other) => {
    for (let round = 0; round < 20; round += 1) {
      const document = customer()
      const results = await Promise.allSettled([store.customers.insert(document), other.customers.insert(document)])
      t.is(results.filter((result) => result.status === 'fulfilled').length, 1)
      const lost = results.find((result) => result.status === 'rejected')
      t.true(isAppError(lost?.reason, 'already_exists'))
    }
  })

  check('counting from two handles at once loses no count', async (t, store, other) => {
    const { _id } = await store.customers.insert(customer({ metadata: { n: 0 } }))
    const add = (on: Storage) => update(on.customers, _id, (document) => ({ ...document, metadata: { n: document.metadata.n + 1 } }))
    await Promise.all(Array.from({ length: 20 }, (_, n) => add(n % 2 === 0 ? store : other)))
    const { metadata, revision } = await store.customers.get(_id)
    t.is(metadata.n, 20)
    t.is(revision, 21)
  })

  check('remove compares the revision too', async (t, store) => {
    const first = await store.customers.insert(customer())
    const second = await store.customers.replace(first)
    await code(t, store.customers.remove(first), 'revision_conflict')
    await store.customers.remove(second)
    t.is(await store.customers.find(first._id), undefined)
    await code(t, store.customers.remove(second), 'not_found')
  })

  check('pages hold everything once, in order, of one tenant only', async (t, store) => {
    const tenantId = `pages${made}`
    for (let n = 0; n < 25; n += 1) {
      // Several of the same instant, so that the id decides among them.
      await store.customers.insert(customer({ tenantId, id: `c${String((n * 7) % 25).padStart(2, '0')}`, createdAt: new Date(at.getTime() + (n % 3)) }))
    }
    await store.customers.insert(customer({ tenantId: `${tenantId}x` }))
    const where = { tenantId, storefrontId: 'sf' }
    const seen: string[] = []
    let cursor: string | undefined
    let pages = 0
    do {
      const page = await store.customers.page({ where, limit: 4, cursor })
      seen.push(...page.data.map((document) => `${document.createdAt.getTime()} ${document._id}`))
      t.true(page.data.every((document) => document.tenantId === tenantId))
      cursor = page.nextCursor
      pages += 1
    } while (cursor)
    t.is(pages, 7)
    t.is(new Set(seen).size, 25)
    t.deepEqual(seen, seen.toSorted())
  })

  check('pages of several values hold what has any of them, in one order', async (t, store) => {
    const tenantId = `several${made}`
    for (let n = 0; n < 9; n += 1)
      await store.customers.insert(customer({ tenantId, storefrontId: ['a', 'b', 'c'][n % 3] as string, id: `c${n}`, createdAt: new Date(at.getTime() + n) }))
    const where = { tenantId, storefrontId: ['c', 'a'] }
    const first = await store.customers.page({ where, limit: 4 })
    const rest = await store.customers.page({ where, limit: 4, cursor: first.nextCursor })
    t.deepEqual(
      [...first.data, ...rest.data].map(({ id }) => id),
      ['c0', 'c2', 'c3', 'c5', 'c6', 'c8'],
    )
    t.is(rest.nextCursor, undefined)
    await code(t, store.customers.page({ where: { tenantId, storefrontId: 'a' }, limit: 4, cursor: first.nextCursor }), 'invalid_request')
    t.deepEqual((await store.customers.page({ where: { tenantId, storefrontId: [] }, limit: 4 })).data, [])
  })

  check('a page goes on after its place when documents come and go', async (t, store) => {
    const tenantId = `moving${made}`
    const all = []
    for (const n of [1, 2, 3, 4]) all.push(await store.customers.insert(customer({ tenantId, id: `c${n}`, createdAt: new Date(at.getTime() + n) })))
    const where = { tenantId, storefrontId: 'sf' }
    const first = await store.customers.page({ where, limit: 2 })
    if (all[1]) await store.customers.remove(all[1])
    await store.customers.insert(customer({ tenantId, id: 'c0', createdAt: at }))
    const second = await store.customers.page({ where, limit: 2, cursor: first.nextCursor })
    t.deepEqual(
      second.data.map(({ id }) => id),
      ['c3', 'c4'],
    )
    t.is(second.nextCursor, undefined)
  })

  check("a cursor that is not this query's is refused", async (t, store) => {
    const tenantId = `cursors${made}`
    for (const id of ['a', 'b']) await store.customers.insert(customer({ tenantId, id }))
    const { nextCursor } = await store.customers.page({ where: { tenantId, storefrontId: 'sf' }, limit: 1 })
    t.truthy(nextCursor)
    for (const cursor of [nextCursor, 'rubbish', Buffer.from('[1]').toString('base64url'), Buffer.from('{}').toString('base64url')]) {
      await code(t, store.customers.page({ where: { tenantId, storefrontId: 'other' }, limit: 1, cursor }), 'invalid_request')
    }
    for (const limit of [0, 501, 1.5]) await code(t, store.customers.page({ where: { tenantId, storefrontId: 'sf' }, limit }), 'invalid_request')
  })

  check('of writes made at once each has its own outcome', async (t, store) => {
    const [first, second] = [await store.customers.insert(customer()), await store.customers.insert(customer())]
    const stale = await store.customers.replace({ ...second, name: 'newer' }).then(() => second)
    const outcomes = await Promise.allSettled([
      store.customers.insert(customer({ id: 'together-1' })),
      store.customers.insert(customer({ id: first.id, tenantId: first.tenantId })),
      store.customers.replace({ ...first, name: 'changed' }),
      store.customers.replace({ ...stale, name: 'too late' }),
      store.customers.remove({ _id: 'none', revision: 1 }),
      store.customers.insert(customer({ id: 'together-2' })),
    ])
    t.deepEqual(
      outcomes.map((outcome) => (outcome.status === 'fulfilled' ? 'done' : (outcome.reason as AppError).code)),
      ['done', 'already_exists', 'done', 'revision_conflict', 'not_found', 'done'],
    )
    t.like(await store.customers.get(first._id), { name: 'changed', revision: 2 })
    t.is((await store.customers.get(stale._id)).name, 'newer')
  })

  check('a query without a declared index is refused, not scanned for', async (t, store) => {
    await t.throwsAsync(store.customers.page({ where: { tenantId: 't', email: 'x' }, limit: 1 }), { message: /no declared index/ })
    await t.throwsAsync(store.customers.due({ by: 'dueAt', until: at, limit: 1 }), { message: /no declared index/ })
  })

  check('due work comes by its time, the oldest first, of the clock that is asked for', async (t, store) => {
    const clock = `clock${made}`
    const times = [3, 1, 2, 5].map((n) => new Date(at.getTime() + n * 1000))
    for (const dueAt of times) await store.subscriptions.insert(subscription({ clock, dueAt }))
    await store.subscriptions.insert(subscription({ clock }))
    await store.subscriptions.insert(subscription({ clock: `${clock}x`, dueAt: at }))
    const due = await store.subscriptions.due({ by: 'dueAt', where: { clock }, until: new Date(at.getTime() + 3000), limit: 10 })
    t.deepEqual(
      due.map((document) => document.dueAt?.getTime()),
      [1, 2, 3].map((n) => at.getTime() + n * 1000),
    )
    const [first] = await store.subscriptions.due({ by: 'dueAt', where: { clock }, until: new Date(at.getTime() + 9000), limit: 1 })
    t.is(first?.dueAt?.getTime(), at.getTime() + 1000)
    const seen: (number | undefined)[] = []
    let after: { at: Date; id: string } | undefined
    for (;;) {
      const [next] = await store.subscriptions.due({ by: 'dueAt', where: { clock }, until: new Date(at.getTime() + 9000), limit: 1, after })
      if (!next) break
      seen.push(next.dueAt?.getTime())
      after = { at: next.dueAt as Date, id: next._id }
    }
    t.is(seen.length, times.filter(Boolean).length, 'one after the other, past those that stay due')
  })

  check('ids keep every character', async (t, store) => {
    for (const id of ["o'hara+x@exämple.com", '日本', 'a.b$c', '100%']) {
      const stored = await store.customers.insert(customer({ id, tenantId: `chars${made}` }))
      t.is((await store.customers.get(stored._id)).id, id)
    }
  })

  check('ping answers', async (t, store) => {
    await t.notThrowsAsync(store.ping())
  })
}
