/**
 * What every storage adapter owes, as `storage.ts` says it. An adapter's own test is a few lines that make one.
 */
import type { ExecutionContext, TestFn } from 'ava'
import { systemClock } from '../../common/clock.ts'
import { type AppError, type ErrorCode, isAppError } from '../../common/errors.ts'
import type { ApiKey } from '../../control-plane/schemas/api-key.ts'
import type { Customer } from '../../control-plane/schemas/customer.ts'
import type { CollectionName } from '../../control-plane/schemas/index.ts'
import type { DocumentMigration } from '../../control-plane/schemas/migrations.ts'
import type { Bill, Subscription } from '../../control-plane/schemas/subscription.ts'
import { rewriteOlder } from '../../control-plane/storage/rewrite-older.ts'
import { MAX_PAGE, type NewDocument, type Storage } from '../../control-plane/storage/storage.ts'
import { insertOrGet, update } from '../../control-plane/storage/update.ts'

export interface StorageUnderTest {
  name: string
  /** Two handles on one store, as two processes would have; `missing` is why there is none to be had. */
  open?: () => Promise<OpenStores>
  missing?: string
}

export interface OpenStores {
  a: Storage
  b: Storage
  /** The same store, as a version of Tollgate with these migrations sees it. */
  openWith(migrations: readonly DocumentMigration[]): Promise<Storage>
  /** Changes a document past the storage port, as a process of another version would. */
  editStored(collection: CollectionName, id: string, edit: (stored: Record<string, unknown>) => Record<string, unknown>): Promise<void>
  /** A document past the storage port, as it is stored. */
  readStored(collection: CollectionName, id: string): Promise<Record<string, unknown>>
  close(): Promise<void>
}

let made = 0
const at = new Date('2024-03-15T10:00:00.123Z')

const customer = (change: Partial<Customer> = {}): NewDocument<Customer> => {
  made += 1
  const id = change.id ?? `c${made}`
  const tenantId = change.tenantId ?? `t${made}`
  return { _id: `${tenantId}/sf/${id}`, tenantId, storefrontId: 'sf', id, paymentMethods: [], createdAt: at, ...change }
}

const apiKey = (secretHash: string): NewDocument<ApiKey> => {
  made += 1
  return { _id: `t/key${made}`, tenantId: 't', id: `key${made}`, role: 'read', secretHash, createdAt: at }
}

const subscription = (change: Partial<Subscription> = {}): NewDocument<Subscription> => {
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

const bill: Bill = {
  paymentId: 'pay_1',
  seq: 0,
  reason: 'period',
  status: 'open',
  period: { index: 0, start: at, end: at, wholeStart: at, wholeEnd: at },
  lines: [],
  creditMinor: 0,
  amountMinor: 0,
  openedAt: at,
  creditableMinor: 0,
  round: 1,
  failedRound: 0,
}

export const testStorage = (test: TestFn, adapter: StorageUnderTest): void => {
  const { open } = adapter
  if (!open) {
    test.skip(`storage on ${adapter.name} (${adapter.missing})`, () => {})
    return
  }
  const opened = open()
  const check = (title: string, run: (t: ExecutionContext, store: Storage, other: Storage, stores: OpenStores) => Promise<void>) => {
    test(`${adapter.name}: ${title}`, async (t) => {
      const stores = await opened
      await run(t, stores.a, stores.b, stores)
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

  check('what a customer is given by hand comes back as it went in', async (t, store) => {
    const given = {
      id: 'g',
      source: 'manual' as const,
      reason: 'r',
      entitlements: [
        { key: 'k', kind: 'quota' as const, limit: null, per: 'month' as const },
        { key: 'v', kind: 'value' as const, value: '' },
      ],
      ...{ from: at, timeZone: 'UTC', createdAt: at },
    }
    const ended = { ...given, id: 'h', externalId: 'x', mode: 'deny' as const, until: at }
    const _id = `u/${made++}`
    const stored = await store.customerGrants.insert({
      _id,
      tenantId: 'u',
      storefrontId: 'sf',
      customerId: 'c',
      living: [given],
      ended: [ended],
      createdAt: at,
      repairAt: at,
    })
    t.deepEqual([stored.living, stored.ended], [[given], [ended]])
    t.deepEqual(await store.customerGrants.get(_id), stored)
    t.deepEqual(
      (await store.customerGrants.due({ by: 'repairAt', until: at, limit: 10 })).map((one) => one._id),
      [_id],
    )
    const { repairAt: _, ...published } = stored
    await store.customerGrants.replace(published)
    t.deepEqual(await store.customerGrants.due({ by: 'repairAt', until: at, limit: 10 }), [])
  })

  check("the schema's defaults are applied, and undefined is absent", async (t, store) => {
    const { cancelAtPeriodEnd: _, ...rest } = subscription()
    const stored = await store.subscriptions.insert({ ...rest, dueAt: undefined } as unknown as NewDocument<Subscription>)
    const read = await store.subscriptions.get(stored._id)
    t.false(read.cancelAtPeriodEnd)
    t.false('dueAt' in read)
  })

  check('a stored null is read as absent, at every depth, if null means nothing there', async (t, store) => {
    const made = subscription({
      trialEnd: null as never,
      scheduledChange: null as never,
      bills: [{ ...bill, failedAt: null as never, pricing: null as never }],
    })
    await store.subscriptions.insert({ ...made, dueAt: at, clock: `nulls ${made._id}` })
    const where = { tenantId: made.tenantId }
    const read = [
      await store.subscriptions.get(made._id),
      await store.subscriptions.find(made._id),
      (await store.subscriptions.page({ where, limit: MAX_PAGE })).data.find(({ _id }) => _id === made._id),
      (await store.subscriptions.due({ by: 'dueAt', where: { clock: `nulls ${made._id}` }, until: at, limit: 1 }))[0],
    ]
    for (const one of read) {
      t.false(one && 'trialEnd' in one)
      t.false(one && 'scheduledChange' in one)
      t.deepEqual(one?.bills, [bill])
      t.is(one?.entitlements[0]?.limit, null, 'no limit is a limit of null')
    }
  })

  check('a document that its schema does not allow is not stored', async (t, store) => {
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

  check('one of two kinds that are stored for a key at the same moment is believed by both writers', async (t, store, other) => {
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

  check('an optional field can be removed', async (t, store) => {
    const first = await store.customers.insert(customer({ repairAt: at }))
    await store.customers.replace({ ...first, repairAt: undefined } as never)
    t.false('repairAt' in (await store.customers.get(first._id)))
    t.deepEqual(await store.customers.due({ by: 'repairAt', until: at, limit: 500 }).then((due) => due.filter(({ _id }) => _id === first._id)), [])
  })

  check('exactly one of two writers that read the same revision wins, and the other is told', async (t, store, other) => {
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

  check('exactly one of two writers of one new id wins', async (t, store, other) => {
    for (let round = 0; round < 20; round += 1) {
      const document = customer()
      const results = await Promise.allSettled([store.customers.insert(document), other.customers.insert(document)])
      t.is(results.filter((result) => result.status === 'fulfilled').length, 1)
      const lost = results.find((result) => result.status === 'rejected')
      t.true(isAppError(lost?.reason, 'already_exists'))
    }
  })

  check('counting from two handles at once loses no count', async (t, store, other) => {
    const { _id } = await store.customers.insert(customer({ metadata: { n: '0' } }))
    const add = (on: Storage) => update(on.customers, _id, (document) => ({ ...document, metadata: { n: String(Number(document.metadata?.n) + 1) } }))
    await Promise.all(Array.from({ length: 20 }, (_, n) => add(n % 2 === 0 ? store : other)))
    const { metadata, revision } = await store.customers.get(_id)
    t.is(metadata?.n, '20')
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

  check('each of several writes at once has its own outcome', async (t, store) => {
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

  check('a query without a declared index is refused, and scans nothing', async (t, store) => {
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

  check('a scan holds everything once, in order of the ids, and goes on after any of them', async (t, store) => {
    const tenantId = `scan${made}`
    for (const id of ['b', 'a', 'd', 'c']) await store.customers.insert(customer({ tenantId, id }))
    const ids = async (after: string, limit: number) =>
      (await store.customers.scan({ after, limit })).map(({ _id }) => _id).filter((id) => id.startsWith(`${tenantId}/`))
    t.deepEqual(
      await ids(`${tenantId}/`, 3),
      ['a', 'b', 'c'].map((id) => `${tenantId}/sf/${id}`),
    )
    t.deepEqual((await ids(`${tenantId}/sf/c`, 500)).slice(0, 1), [`${tenantId}/sf/d`])
  })

  check('fields that this version does not know survive its replace, and no caller sees them', async (t, store, _, { editStored, readStored }) => {
    const bill = {
      paymentId: 'p',
      seq: 1,
      reason: 'period',
      status: 'open',
      lines: [],
      creditMinor: 0,
      amountMinor: 1,
      openedAt: at,
      creditableMinor: 1,
    } as const
    const period = { index: 0, start: at, end: at, wholeStart: at, wholeEnd: at }
    const { _id } = await store.subscriptions.insert(
      subscription({ bills: [{ ...bill, reason: 'period', status: 'open', lines: [], period, round: 0, failedRound: 0 }] }),
    )
    const ofNewer = { colour: 'green', nested: { since: 2 } }
    await editStored('subscriptions', _id, (stored) => ({
      ...stored,
      ...ofNewer,
      currentPeriod: { ...(stored.currentPeriod as object), tide: 'high' },
      bills: [{ ...(stored.bills as object[])[0], tax: 7 }],
    }))
    const read = await store.subscriptions.get(_id)
    t.false(JSON.stringify(read).includes('green'))
    const [first] = read.bills
    const changed = await store.subscriptions.replace({
      ...read,
      paidAt: 'acct',
      currentPeriod: { ...read.currentPeriod, creditableMinor: 5 },
      bills: first ? [{ ...first, round: 1 }] : [],
    })
    t.is(changed.currentPeriod.creditableMinor, 5)
    t.false(JSON.stringify(changed).includes('green'))
    await store.subscriptions.replace({ ...changed, paidAt: 'other' })
    const stored = await readStored('subscriptions', _id)
    t.like(stored, { ...ofNewer, paidAt: 'other', revision: 3 })
    t.like(stored.currentPeriod, { tide: 'high', creditableMinor: 5 })
    t.like((stored.bills as object[])[0], { tax: 7, round: 1 })
    const [due] = (await store.subscriptions.page({ where: { tenantId: read.tenantId }, limit: 1 })).data
    t.false(JSON.stringify(due).includes('green'))
  })

  check('a document of a newer version is not read, changed, listed or due, and its revision stays', async (t, store, _, { editStored, readStored }) => {
    const clock = `newer${made}`
    const insert = (tenantId: string) => store.subscriptions.insert(subscription({ tenantId, clock, dueAt: at, repairAt: at }))
    const [known, newer] = [await insert(clock), await insert(clock)]
    await editStored('subscriptions', newer._id, (stored) => ({ ...stored, schemaVersion: 2, status: 'hibernating' }))
    const until = new Date(at.getTime() + 1)
    for (const work of [
      store.subscriptions.get(newer._id),
      store.subscriptions.find(newer._id),
      store.subscriptions.page({ where: { tenantId: clock }, limit: 10 }),
      update(store.subscriptions, newer._id, (document) => ({ ...document, paidAt: 'x' })),
    ])
      await code(t, work, 'newer_version')
    t.deepEqual((await store.subscriptions.page({ where: { tenantId: clock }, limit: 10, leaveOutNewer: true })).data, [known])
    t.deepEqual(await store.subscriptions.due({ by: 'dueAt', where: { clock }, until, limit: 10 }), [known])
    const toRepair = await store.subscriptions.due({ by: 'repairAt', until, limit: 500 })
    t.false(toRepair.some(({ _id }) => _id === newer._id))
    t.false((await store.subscriptions.scan({ after: `${clock}/`, limit: 500 })).some(({ _id }) => _id === newer._id))
    t.like(await readStored('subscriptions', newer._id), { revision: 1, status: 'hibernating', schemaVersion: 2 })
  })

  check('a document of version 1 names no version, so that the versions before there were any can read it', async (t, store, _, { readStored }) => {
    const { _id } = await store.customers.insert(customer())
    await store.customers.replace(await store.customers.get(_id))
    t.false('schemaVersion' in (await readStored('customers', _id)))
  })

  check('an older document is brought up to date when it is read, and stored so when it is written', async (t, store, _, { openWith, readStored }) => {
    const migrations: DocumentMigration[] = [
      { collection: 'customers', to: 2, title: 'e-mail addresses in lower case', migrate: (old) => ({ ...old, email: String(old.email).toLowerCase() }) },
      { collection: 'customers', to: 3, title: 'names begin with a capital', migrate: (old) => ({ ...old, name: `Dr ${old.name}` }) },
    ]
    const old = await store.customers.insert(customer({ email: 'A@EXAMPLE.COM', name: 'who' }))
    const newer = await openWith(migrations)
    try {
      const read = await newer.customers.get(old._id)
      t.like(read, { email: 'a@example.com', name: 'Dr who', revision: 1 })
      t.is((await readStored('customers', old._id)).email, 'A@EXAMPLE.COM', 'reading writes nothing')
      await newer.customers.replace(read)
      t.like(await newer.customers.get(old._id), { email: 'a@example.com', name: 'Dr who', revision: 2 })
      t.like(await readStored('customers', old._id), { schemaVersion: 3, name: 'Dr who' })
      await code(t, store.customers.get(old._id), 'newer_version')
      await code(t, store.customers.replace({ ...old, name: 'older' }), 'newer_version')
      const made = await newer.customers.insert(customer({ email: 'B@EXAMPLE.COM' }))
      t.is((await newer.customers.get(made._id)).email, 'B@EXAMPLE.COM', 'what is new is in the present form')
      await code(t, store.customers.remove({ _id: made._id, revision: 7 }), 'newer_version')
    } finally {
      await newer.close()
    }
  })

  check('older documents are rewritten once, by a task that goes on where it was cut off', async (t, store, _, { openWith, readStored }) => {
    const migrations: DocumentMigration[] = [
      { collection: 'roles', to: 2, title: 'names in capitals', migrate: (old) => ({ ...old, name: `${old.name}`.toUpperCase() }) },
    ]
    const tenantId = `rewrite${made}`
    const insert = (n: number) =>
      store.roles.insert({ _id: `${tenantId}/${String(n).padStart(4, '0')}`, tenantId, id: `r${n}`, name: `r${n}`, permissions: [], createdAt: at })
    const ids: string[] = []
    for (let n = 0; n < MAX_PAGE + 20; n += 1) ids.push((await insert(n))._id)
    const [removed, changed] = [ids.pop() ?? '', ids[3] ?? '']
    const newer = await openWith(migrations)
    try {
      await newer.roles.replace(await newer.roles.get(changed))
      const said: string[] = []
      const cutOff = (line: string) => {
        said.push(line)
        if (line.includes('so far')) throw new Error('cut off')
      }
      await t.throwsAsync(rewriteOlder({ storage: newer, clock: systemClock, say: cutOff, migrations }))
      t.is(said.at(0), 'roles to version 2 (2: names in capitals)')
      await newer.roles.remove(await newer.roles.get(removed))
      t.deepEqual(await rewriteOlder({ storage: newer, clock: systemClock, say: (line) => said.push(line), migrations }), ['roles to version 2'])
      t.regex(said.at(-1) ?? '', new RegExp(`: ${ids.length - 1} rewritten so far$`), 'nothing twice')
      for (const id of ids.filter((_id, n) => n % 50 === 0 || n > MAX_PAGE))
        t.like(await readStored('roles', id), { schemaVersion: 2, name: (await newer.roles.get(id)).id.toUpperCase(), revision: 2 })
      t.deepEqual(await rewriteOlder({ storage: newer, clock: systemClock, say: t.fail, migrations }), [], 'it is finished')
      const late = await insert(9_000)
      t.deepEqual(await rewriteOlder({ storage: newer, clock: systemClock, say: () => {}, again: true, migrations }), ['roles to version 2'])
      t.like(await readStored('roles', late._id), { schemaVersion: 2, name: 'R9000' })
    } finally {
      await newer.close()
    }
  })

  check('documents come in the order of their place, those after one', async (t, store) => {
    const tenantId = `places${made}`
    const insert = (id: string, position: number) =>
      store.loggedEvents.insert({
        _id: `${tenantId}/${id}`,
        tenantId,
        id,
        position,
        type: 'bundle.created',
        subject: '/x',
        seq: 1,
        time: at,
        data: { n: position, at: at.toISOString() },
        createdAt: at,
        expiresAt: at,
      })
    // As text, 9 would come after 10.
    for (const [id, position] of [
      ['b', 10],
      ['a', 9],
      ['d', 2 ** 40],
      ['c', 11],
    ] as const)
      await insert(id, position)
    const read = async (above: number, limit: number) => (await store.loggedEvents.after({ where: { tenantId }, above, limit })).map(({ id }) => id)
    t.deepEqual(await read(0, 10), ['a', 'b', 'c', 'd'])
    t.deepEqual(await read(9, 2), ['b', 'c'])
    t.deepEqual(await read(2 ** 40, 2), [])
    await t.throwsAsync(store.customers.after({ where: { tenantId }, above: 0, limit: 1 }), undefined, 'no index serves it')
  })

  check('an outbox is taken out of the document that was read, and of no later one', async (t, store, other) => {
    const event = { id: 'evt_1', type: 'customer.created', seq: 1, time: at.toISOString(), subject: '/x', data: { ä: [null, 1] } }
    const first = await store.customers.insert(customer({ eventSeq: 1, told: 'x', outbox: [event], outboxAt: at }))
    const due = await store.customers.due({ by: 'outboxAt', until: at, limit: 500 })
    t.deepEqual(due.find(({ _id }) => _id === first._id)?.outbox, [event])
    const second = await other.customers.replace({ ...first, name: 'n' })
    t.false(await store.customers.clearOutbox(first), 'it is of another revision by now')
    t.deepEqual((await store.customers.get(first._id)).outbox, [event])
    t.true(await store.customers.clearOutbox(second))
    const { outbox: _, outboxAt: __, ...emptied } = second
    t.deepEqual(await other.customers.get(first._id), emptied, 'with the same revision')
    t.false(await store.customers.clearOutbox(second), 'nothing is left')
    t.is((await store.customers.due({ by: 'outboxAt', until: at, limit: 500 })).filter(({ _id }) => _id === first._id).length, 0)
    await t.notThrowsAsync(other.customers.replace(second), 'whoever has read it before may still write it')
  })

  check('ping answers', async (t, store) => {
    await t.notThrowsAsync(store.ping())
  })
}
