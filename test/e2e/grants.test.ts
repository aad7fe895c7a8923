/** Grants by hand: how they count beside subscriptions and each other, when they end, and what holds of them over HTTP. */
import { promisify } from 'node:util'
import test from 'ava'
import { MAX_SET_BYTES } from '../../common/feed/feed.ts'
import type { ExplainEntitlementResponse } from '../../proto/gen/entitlement/v1/entitlement.ts'
import { Kind, Reason } from '../../proto/gen/entitlement/v1/entitlement.ts'
import { eventually } from '../support/eventually.ts'
import { type HttpAnswer, httpClient } from '../support/http-client.ts'
import { inWorlds } from '../support/in-worlds.ts'
import { openShop } from '../support/shop.ts'

const NOW = '2024-03-15T00:00:00Z'
const at = (customer: string) => `/storefronts/us-store/customers/${customer}/grants`
const flag = (key: string, enabled = true) => ({ key, kind: 'flag', enabled })
const quota = (key: string, limit: number | null, per = 'month') => ({ key, kind: 'quota', limit, per })
const capacity = (key: string, limit: number | null) => ({ key, kind: 'capacity', limit })
const value = (key: string, text: string) => ({ key, kind: 'value', value: text })

inWorlds(test, (story) => {
  /** A shop, one customer, and what a test does with both. */
  const open = async ({ t, tollgate, grpc }: Parameters<Parameters<typeof story>[1]>[0]) => {
    const shop = await openShop(t, tollgate, { now: NOW })
    t.is((await shop.api.post('/customers', { id: 'c', storefrontId: 'us-store' })).status, 201)
    let revision = 0
    const done = (answer: HttpAnswer): HttpAnswer => {
      t.is(answer.status, 201, JSON.stringify(answer.body))
      revision = Math.max(revision, answer.body.entitlementRevision)
      return answer
    }
    const give = async (entitlements: object[], more: object = {}) => done(await shop.api.post(at('c'), { entitlements, reason: 'a test', ...more })).body
    const take = async (id: string) => {
      t.is((await shop.api.call('DELETE', `${at('c')}/${id}`)).status, 204)
      revision = (await shop.api.get('/storefronts/us-store/customers/c/entitlements')).body.revision
    }
    const use = async (entitlement: string, amount: number) =>
      done(await shop.api.post('/usage', { storefrontId: 'us-store', customerId: 'c', entitlement, amount })).body
    const question = (entitlement: string, amount = 1) => ({ tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'c', entitlement, amount })
    const check = (entitlement: string, amount = 1) => grpc.check({ ...question(entitlement, amount), minRevision: revision })
    /** A sidecar hears of the clock by itself. */
    const becomes = (entitlement: string, is: Partial<Awaited<ReturnType<typeof check>>>) =>
      eventually(async () => {
        const answer = await check(entitlement)
        return Object.entries(is).every(([field, expected]) => answer[field as keyof typeof answer] === expected)
      })
    return { ...shop, give, take, use, check, becomes, question }
  }

  story('a customer without a subscription is given a flag, which ends by itself, by the clock of the sandbox', async (world) => {
    const { t } = world
    const { give, check, becomes, api, setClock } = await open(world)
    t.is((await api.patch('/storefronts/us-store', { timeZone: 'America/New_York' })).status, 200)
    const trial = await give([flag('sso'), { type: 'feature_flag', value: 'reports' }], { until: '2024-03-20', reason: 'a trial' })
    t.like(trial, { source: 'manual', mode: 'add', reason: 'a trial', from: '2024-03-15T00:00:00.000Z', status: 'current', externalId: null })
    t.is(trial.until, '2024-03-20T04:00:00.000Z', 'the first instant of the day in the time zone of the storefront')
    for (const key of ['sso', 'reports']) {
      const answer = await check(key)
      t.like(answer, { allowed: true, reason: Reason.REASON_GRANTED, kind: Kind.KIND_FLAG, bundleId: '', subscriptionId: '' })
      t.deepEqual(answer.validUntil, new Date(trial.until))
    }
    t.like((await api.get('/storefronts/us-store/customers/c/entitlements')).body.entitlements[0], { key: 'reports', bundleId: null, subscriptionId: null })
    t.is((await setClock('2024-03-20T03:59:59.999Z')).status, 200)
    t.true((await check('sso')).allowed)
    await setClock('2024-03-20T04:00:00Z')
    await becomes('sso', { allowed: false, reason: Reason.REASON_EXPIRED })
    t.is((await api.get(`${at('c')}/${trial.id}`)).body.status, 'ended')
  })

  story('a grant that begins later gives nothing until then', async (world) => {
    const { t } = world
    const { give, check, becomes, setClock } = await open(world)
    t.is((await give([flag('sso')], { from: '2024-03-16' })).status, 'scheduled')
    t.like(await check('sso'), { allowed: false, reason: Reason.REASON_NOT_GRANTED })
    await give([flag('sso')], { mode: 'deny', from: '2024-03-17' })
    await setClock('2024-03-16T12:00:00Z')
    await becomes('sso', { allowed: true })
    await setClock('2024-03-17T12:00:00Z')
    await becomes('sso', { allowed: false, reason: Reason.REASON_BLOCKED })
  })

  story('limits add to those of a subscription, a floor raises the sum, the youngest replacement counts alone, and a block beats all', async (world) => {
    const { t } = world
    const { give, take, check, subscribe } = await open(world)
    const { entitlementRevision } = (await subscribe('c')).body
    t.true(entitlementRevision > 0)
    const low = await give([quota('api_limit', 100)], { mode: 'floor' })
    t.like(await check('api_limit'), { limit: 10_000n, remaining: 10_000n })
    await give([quota('api_limit', 500)])
    t.like(await check('api_limit'), { limit: 10_500n })
    const high = await give([quota('api_limit', 20_000)], { mode: 'floor' })
    t.like(await check('api_limit'), { limit: 20_000n, remaining: 20_000n })
    await take(low.id)
    await give([quota('api_limit', 9)], { mode: 'replace', from: '2024-03-01' })
    const youngest = await give([quota('api_limit', 7)], { mode: 'replace' })
    t.like(await check('api_limit'), { limit: 7n, subscriptionId: '' })
    const block = await give([quota('api_limit', 0)], { mode: 'deny', source: 'external' })
    t.like(await check('api_limit'), { allowed: false, reason: Reason.REASON_BLOCKED, kind: Kind.KIND_QUOTA, limit: 0n, remaining: 0n })
    t.true((await check('analytics_dashboard')).allowed, 'another key is not blocked')
    await take(block.id)
    t.like(await check('api_limit'), { allowed: true, limit: 7n })
    await take(youngest.id)
    t.like(await check('api_limit'), { limit: 9n })
    await take(high.id)
    t.like(await check('api_limit'), { limit: 9n })
  })

  story('each kind of entitlement is given, floored, replaced and denied', async (world) => {
    const { t } = world
    const { give, check } = await open(world)
    await give([value('plan', 'silver'), capacity('seats', 3), flag('sso', false)], { mode: 'floor' })
    t.like(await check('plan'), { value: 'silver' })
    t.like(await check('seats'), { limit: 3n })
    t.like(await check('sso'), { allowed: false, reason: Reason.REASON_DISABLED })
    await give([value('plan', 'bronze'), capacity('seats', 2), flag('sso')])
    t.like(await check('plan'), { value: 'bronze' }, 'a floor of a value counts where nothing else says one')
    t.like(await check('seats'), { limit: 3n })
    t.true((await check('sso')).allowed)
    await give([capacity('seats', Number.MAX_SAFE_INTEGER)])
    t.like(await check('seats', Number.MAX_SAFE_INTEGER), { allowed: true, limit: BigInt(Number.MAX_SAFE_INTEGER) })
    await give([capacity('seats', null)], { mode: 'floor' })
    t.like(await check('seats'), { allowed: true, unlimited: true })
    await give([value('plan', 'gold'), capacity('seats', 1), flag('sso', false)], { mode: 'replace' })
    t.like(await check('plan'), { value: 'gold' })
    t.like(await check('seats', 2), { allowed: false, limit: 1n, unlimited: false })
    t.like(await check('sso'), { allowed: false, reason: Reason.REASON_DISABLED })
    const denied = await give([value('plan', 'x'.repeat(1_000)), { key: 'seats', kind: 'capacity', unlimited: true }, flag('sso')], { mode: 'deny' })
    t.deepEqual(denied.entitlements, [
      { key: 'plan', kind: 'value' },
      { key: 'seats', kind: 'capacity' },
      { key: 'sso', kind: 'flag' },
    ])
    for (const [key, kind] of [
      ['plan', Kind.KIND_VALUE],
      ['seats', Kind.KIND_CAPACITY],
      ['sso', Kind.KIND_FLAG],
    ] as const)
      t.like(await check(key), { allowed: false, reason: Reason.REASON_BLOCKED, kind, value: '' })
  })

  story('a quota by hand counts its own periods from its beginning, and reports take from it', async (world) => {
    const { t } = world
    const { give, take, use, check, becomes, setClock, subscribe } = await open(world)
    const block = await give([quota('calls', 10, 'day')], { from: '2024-03-14T12:00:00Z' })
    t.like(await use('calls', 4), { used: 4, limit: 10, remaining: 6, resetsAt: '2024-03-15T12:00:00.000Z' })
    t.like(await check('calls', 7), { allowed: false, reason: Reason.REASON_LIMIT_EXCEEDED, used: 4n, remaining: 6n })
    await give([quota('calls', 5, 'month')])
    t.like(await use('calls', 8), { used: 12, limit: 15, remaining: 3 }, 'first from the one that ends first')
    t.like(await check('calls'), { used: 12n, remaining: 3n })
    await setClock('2024-03-15T12:00:00Z')
    await becomes('calls', { used: 2n, remaining: 13n })
    await take(block.id)
    t.like(await check('calls'), { used: 2n, limit: 5n, remaining: 3n })
    t.like(await use('calls', -2), { used: 0, remaining: 5 })

    await subscribe('c')
    t.like(await use('api_limit', 9_990), { used: 9_990, remaining: 10 })
    await give([quota('api_limit', 10_100)], { mode: 'floor' })
    t.like(await check('api_limit'), { limit: 10_100n, used: 9_990n, remaining: 110n })
    t.like(await use('api_limit', 50), { used: 10_040, limit: 10_100, remaining: 60 })
    t.like(await check('api_limit'), { limit: 10_100n, used: 10_040n, remaining: 60n })
    await give([quota('api_limit', 0)], { mode: 'deny' })
    t.like(await use('api_limit', 10), { used: 10_050, remaining: 50 }, 'use is a fact, blocked or not')
    t.is((await check('api_limit')).reason, Reason.REASON_BLOCKED)
  })

  story('the same external id is one grant, at once and again; with another content it is refused, and says what differs', async (world) => {
    const { t } = world
    const { api, check, take } = await open(world)
    const order = { entitlements: [capacity('seats', 5)], reason: 'ticket 7', externalId: 'ticket/7', source: 'import' }
    const answers = await Promise.all(Array.from({ length: 5 }, () => api.post(at('c'), order)))
    t.deepEqual([...new Set(answers.map(({ status }) => status))], [201], JSON.stringify(answers.map(({ body }) => body)))
    const [id, ...others] = new Set(answers.map(({ body }) => body.id))
    t.deepEqual(others, [])
    t.like(await check('seats'), { limit: 5n })
    const refused = await api.post(at('c'), { ...order, mode: 'floor', until: '2025-01-01' })
    t.like(refused, { status: 409, body: { code: 'already_exists', field: 'externalId' } })
    t.regex(refused.body.detail, new RegExp(`${id} under this id, with another mode, until; DELETE it first`))
    await take(id)
    t.like(await api.post(at('c'), { ...order, mode: 'floor' }), { status: 201, body: { mode: 'floor', externalId: 'ticket/7' } })
  })

  story('a customer has at most 200 grants that have not ended, also of those that are given at once', async (world) => {
    const { t } = world
    const { api, take, setClock } = await open(world)
    const give = (n: number, until?: string) => api.post(at('c'), { entitlements: [flag(`k${n % 3}`)], reason: 'r', ...(until ? { until } : {}) })
    const ids: string[] = []
    for (let n = 0; n < 195; n += 1) ids.push((await give(n, n < 150 ? '2024-03-16' : undefined)).body.id)
    const answers = await Promise.all(Array.from({ length: 10 }, (_, n) => give(n)))
    t.is(answers.filter(({ status }) => status === 201).length, 5)
    for (const { body } of answers.filter(({ status }) => status !== 201)) {
      t.is(body.code, 'not_allowed_in_state')
      t.regex(body.detail, /already has 200 grants that have not ended; DELETE/)
    }
    await take(ids.at(-1) ?? '')
    t.is((await give(1)).status, 201)
    t.is((await give(1)).status, 409)
    await setClock('2024-03-17T00:00:00Z')
    t.is((await give(1)).status, 201, 'those that have ended do not count')
    const seen: { id: string; status: string }[] = []
    let cursor = ''
    do {
      const { body } = await api.get(`${at('c')}?limit=40${cursor}`)
      seen.push(...body.data)
      cursor = body.nextCursor ? `&cursor=${body.nextCursor}` : ''
    } while (cursor)
    t.is(new Set(seen.map((one) => one.id)).size, 151, 'of the 150 that have ended the last 100 are told')
    t.is(seen.filter(({ status }) => status === 'ended').length, 100)
    t.deepEqual(
      seen.map((one) => one.id),
      seen.map((one) => one.id).toSorted(),
      'the oldest first',
    )
  })

  story('what is wrong with a grant is said, and changes nothing', async (world) => {
    const { t } = world
    const { api, give, check } = await open(world)
    const post = (body: object, customer = 'c') => api.post(at(customer), { entitlements: [flag('sso')], reason: 'r', ...body })
    const refused = async (answer: Promise<HttpAnswer>, status: number, code: string, field?: string) =>
      t.like(await answer, { status, body: { code, ...(field ? { field } : {}) } }, JSON.stringify((await answer).body))
    await refused(post({}, 'none'), 404, 'not_found')
    await refused(post({ entitlements: [{ key: 'analytics_dashboard', kind: 'capacity', limit: 1 }] }), 400, 'invalid_request', 'entitlements[0].kind')
    await refused(post({ from: '2024-03-20', until: '2024-03-20' }), 400, 'invalid_request', 'until')
    await refused(post({ from: '2024-03-01', until: '2024-03-14' }), 400, 'invalid_request', 'until')
    t.deepEqual((await api.get(at('c'))).body.data, [])
    // More than can be sent to sidecars.
    const large = { entitlements: Array.from({ length: 100 }, (_, n) => value(`v${n}`, 'ä'.repeat(1_000))) }
    const most = Math.floor(MAX_SET_BYTES / 205_000)
    for (let n = 0; n < most; n += 1) await give(large.entitlements)
    await refused(post(large), 422, 'set_too_large')
    t.is((await api.get(at('c'))).body.data.length, most)
    // A key that only a grant has is of its kind for bundles, too.
    await give([quota('only-by-hand', 5)])
    const bundle = { id: 'b', storefrontId: 'us-store', name: 'B', pricing: { amount: 0, currency: 'USD', interval: 'month' } }
    const other = await api.post('/bundles', { ...bundle, entitlements: [flag('only-by-hand')] })
    t.like(other, { status: 400, body: { field: 'entitlements[0].kind' } })
    t.regex(other.body.detail, /must be quota: a grant by hand has only-by-hand with that kind/)
    t.is((await check('sso')).reason, Reason.REASON_NOT_GRANTED)
  })

  story('a grant is taken back once, is in the export and the audit log, and goes with its customer', async (world) => {
    const { t, tollgate } = world
    const { api, apiKey, give, check, question } = await open(world)
    const { id } = await give([flag('sso')], { reason: 'make-good for the outage', externalId: 'T-1' })
    const lines = (
      await (await fetch(`${tollgate.http}/v1/storefronts/us-store/customers/c/export`, { headers: { authorization: `Bearer ${apiKey}` } })).text()
    )
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    t.like(lines.find(({ kind }) => kind === 'grant')?.data, { id, reason: 'make-good for the outage', externalId: 'T-1' })
    t.is((await api.call('DELETE', `${at('c')}/${id}`, undefined, { 'if-match': '"7"' })).body.code, 'precondition_failed')
    t.is((await api.call('DELETE', `${at('c')}/${id}`)).status, 204)
    t.is((await api.call('DELETE', `${at('c')}/${id}`)).status, 404)
    t.is((await api.get(`${at('c')}/${id}`)).status, 404)
    const log = (await api.get('/audit-log')).body.data as { action: string; reason: string | null; event: string; resource: Record<string, string> }[]
    const ofGrants = log.filter(({ action, event }) => action.endsWith('/grants/{grant}') || (action.endsWith('/grants') && event === 'done'))
    t.true(ofGrants.some(({ action, reason }) => action.startsWith('post') && reason === 'make-good for the outage'))
    t.true(ofGrants.some(({ action, resource }) => action.startsWith('delete') && resource.grant === id))

    await give([flag('sso')])
    t.true((await check('sso')).allowed)
    t.is((await api.call('DELETE', '/storefronts/us-store/customers/c')).status, 200)
    await eventually(async () => (await world.grpc.check(question('sso'))).reason === Reason.REASON_CUSTOMER_UNKNOWN)
    t.is((await api.post(at('c'), { entitlements: [flag('sso')], reason: 'r' })).status, 404)
    t.is((await api.post('/customers', { id: 'c', storefrontId: 'us-store' })).status, 201)
    t.deepEqual((await api.get(at('c'))).body.data, [], 'the same id anew is another customer')
  })

  story('who may read grants may not give any, and a limited key gives none in another storefront', async (world) => {
    const { t, tollgate } = world
    const { api, give } = await open(world)
    const { id } = await give([flag('sso')])
    const keyFor = async (body: object) => httpClient(tollgate.http, { key: (await api.post('/api-keys', body)).body.secret })
    const reader = await keyFor({ role: 'read' })
    t.is((await reader.get(`${at('c')}/${id}`)).status, 200)
    t.is((await reader.post(at('c'), { entitlements: [flag('sso')], reason: 'r' })).status, 403)
    t.is((await reader.call('DELETE', `${at('c')}/${id}`)).status, 403)
    t.is((await (await keyFor({ role: 'sidecar' })).get(at('c'))).status, 403)
    const limited = await keyFor({ role: 'admin', storefronts: ['eu-store'] })
    t.is((await limited.post(at('c'), { entitlements: [flag('sso')], reason: 'r' })).status, 403)
  })

  story('an explanation lists every source, and which of them denies', async (world) => {
    const { t, grpc } = world
    const { give, subscribe, question, check } = await open(world)
    const { id } = (await subscribe('c')).body
    const more = await give([quota('api_limit', 5)], { until: '2024-04-01T00:00:00Z', source: 'external' })
    const block = await give([quota('api_limit', 5)], { mode: 'deny', from: '2024-03-01' })
    t.is((await check('api_limit')).reason, Reason.REASON_BLOCKED)
    const explain = promisify(grpc.raw.explainEntitlement.bind(grpc.raw)) as unknown as (asked: object) => Promise<ExplainEntitlementResponse>
    const { decision, sources, holdings } = await explain({ ...question('api_limit'), amount: 1n, minRevision: 0n })
    t.is(decision?.reason, Reason.REASON_BLOCKED)
    t.is(holdings.length, 1)
    t.deepEqual(
      sources
        .toSorted((a, b) => (a.mode === b.mode ? Number(b.limit - a.limit) : 0))
        .map((one) => [one.source, one.id, one.mode, one.kind, one.limit, one.until?.toISOString().slice(0, 10) === '2024-04-01']),
      [
        ['subscription', id, 'add', Kind.KIND_QUOTA, 10_000n, false],
        ['external', more.id, 'add', Kind.KIND_QUOTA, 5n, true],
        ['manual', block.id, 'deny', Kind.KIND_QUOTA, 0n, false],
      ],
    )
  })
})
