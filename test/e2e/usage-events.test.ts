/** Uses that are told of by CloudEvents, or under an id of their own. */
import test from 'ava'
import { eventually } from '../support/eventually.ts'
import { httpClient } from '../support/http-client.ts'
import { inWorlds } from '../support/in-worlds.ts'
import { openShop, type Shop } from '../support/shop.ts'

const terms = {
  bundle: {
    entitlements: [
      { key: 'calls', kind: 'quota', limit: 100, per: 'month' },
      { key: 'seats', kind: 'capacity', limit: 5 },
      { key: 'beta', kind: 'flag', enabled: true },
    ],
  },
}

const eventOf = (id: string, amount: number, change: object = {}) => ({
  specversion: '1.0',
  id,
  source: '/gateway',
  type: 'calls',
  subject: 'ann',
  data: { storefrontId: 'us-store', amount },
  ...change,
})

const one = { 'content-type': 'application/cloudevents+json' }
const batch = { 'content-type': 'application/cloudevents-batch+json' }
const send = ({ api }: Pick<Shop, 'api'>, events: unknown) => api.post('/usage-events', events as object, Array.isArray(events) ? batch : one)

const history = async ({ api }: Shop, query: string, entitlement = 'calls') =>
  (await api.get(`/usage?storefrontId=us-store&customerId=ann&entitlement=${entitlement}&${query}`)).body

/** What is counted now. */
const used = async ({ api }: Shop, entitlement = 'calls'): Promise<number> =>
  (await api.get(`/storefronts/us-store/customers/ann/entitlements/${entitlement}/ledger`)).body.used

inWorlds(test, (story) => {
  story('events are counted once, and a bad one rejects no other', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate, terms)
    const { entitlementRevision: minRevision } = (await shop.subscribe('ann')).body
    await shop.subscribe('bob')
    const single = await send(shop, eventOf('a', 3))
    t.deepEqual([single.status, single.body], [202, { accepted: 1, duplicates: 0, rejected: [] }])
    const events = [
      eventOf('a', 3),
      eventOf('b', 4),
      eventOf('b', 4),
      eventOf('a', 2, { source: '/other' }),
      eventOf('a', 1, { subject: 'bob' }),
      eventOf('seat', 2, { type: 'seats' }),
      eventOf('back', -1, { type: 'seats' }),
      eventOf('none', 1, { subject: 'nobody' }),
      eventOf('flag', 1, { type: 'beta' }),
      eventOf('half', 0.5),
      eventOf('much', -100),
      eventOf('ahead', 1, { time: '2024-03-15T00:06:00Z' }),
      { ...eventOf('old', 1), specversion: '0.3' },
      'event',
    ]
    const sent = await send(shop, events)
    t.is(sent.status, 202)
    t.deepEqual(sent.body, {
      accepted: 5,
      duplicates: 2,
      rejected: [
        { index: 7, code: 'unknown_reference', field: 'subject' },
        { index: 8, code: 'unknown_reference', field: 'type' },
        { index: 9, code: 'invalid_request', field: 'data.amount' },
        { index: 10, code: 'invalid_request', field: 'data.amount' },
        { index: 11, code: 'invalid_request', field: 'time' },
        { index: 12, code: 'invalid_request', field: 'specversion' },
        { index: 13, code: 'invalid_request', field: 'data' },
      ],
    })
    t.like((await send(shop, events)).body, { accepted: 0, duplicates: 7 })
    t.deepEqual([await used(shop), await used(shop, 'seats')], [9, 1])
    t.is((await send(shop, [])).status, 400)
    const use = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'ann', entitlement: 'calls', minRevision }
    await eventually(async () => (await grpc.check(use)).used === 9n)
    t.is((await history(shop, 'from=2024-03-15&to=2024-03-16')).total, 9)
  })

  story('a thousand events are one request; more are refused', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate, { bundle: { entitlements: [{ key: 'calls', kind: 'quota', limit: null, per: 'month' }] } })
    await shop.subscribe('ann')
    const events = (count: number) =>
      Array.from({ length: count }, (_, n) => eventOf(`the call with the number ${n} at the gateway`, n, { traceparent: 'x'.repeat(300) }))
    t.like(await send(shop, events(1_001)), { status: 400, body: { code: 'invalid_request' } })
    t.deepEqual((await send(shop, events(1_000))).body, { accepted: 1_000, duplicates: 0, rejected: [] })
    const more = Array.from({ length: 400 }, (_, n) => eventOf(`more-${n}`, 1))
    t.deepEqual((await send(shop, [...more, ...events(600)])).body, { accepted: 400, duplicates: 600, rejected: [] })
    t.is(await used(shop), 499_500 + 400)
    t.is((await history(shop, 'from=2024-03-15&to=2024-03-16')).total, 499_500 + 400)
  })

  story('many senders of the same events at once count each once', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate, terms)
    await shop.subscribe('ann')
    const events = Array.from({ length: 40 }, (_, n) => eventOf(`${n}`, 2))
    const answers = await Promise.all(Array.from({ length: 8 }, () => send(shop, events)))
    t.is(
      answers.reduce((sum, { body }) => sum + body.accepted, 0),
      40,
    )
    t.is(await used(shop), 80)
  })

  story('an event counts in the window of its time, and else in the history only', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate, terms)
    await shop.subscribe('ann')
    await send(shop, eventOf('first', 10))
    await shop.setClock('2024-04-16T12:00:00Z')
    t.is(await used(shop), 0)
    const late = await send(shop, [
      eventOf('of the last window', 5, { time: '2024-04-14T10:30:00Z' }),
      eventOf('of this one', 7, { time: '2024-04-15T10:30:00Z' }),
      eventOf('back in the last window', -2, { time: '2024-04-14T10:40:00Z' }),
      eventOf('too old', 1, { time: '2024-03-12T11:59:59Z' }),
    ])
    t.deepEqual(late.body, { accepted: 3, duplicates: 0, rejected: [{ index: 3, code: 'invalid_request', field: 'time' }] })
    t.is(await used(shop), 7)
    const { data, total } = await history(shop, 'from=2024-04-14&granularity=day')
    t.deepEqual(
      data.map(({ start, used: amount }: { start: string; used: number }) => [start, amount]),
      [
        ['2024-04-14T00:00:00.000Z', 3],
        ['2024-04-15T00:00:00.000Z', 7],
        ['2024-04-16T00:00:00.000Z', 0],
      ],
    )
    t.is(total, 10)
    const months = await history(shop, 'from=2024-03-01&granularity=month')
    t.deepEqual(
      months.data.map((bucket: { used: number }) => bucket.used),
      [10, 10],
    )
  })

  story('a report with an id of its own counts once, and its repeat is answered with what is used by then', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate, terms)
    await shop.subscribe('ann')
    const report = (body: object, headers: Record<string, string> = {}) =>
      shop.api.post('/usage', { storefrontId: 'us-store', customerId: 'ann', entitlement: 'calls', ...body }, headers)
    t.like(await report({ amount: 3, id: 'r-1' }), { status: 201, body: { used: 3 } })
    await report({ amount: 4 })
    t.like(await report({ amount: 3, id: 'r-1' }), { status: 201, body: { used: 7 } })
    t.like(await report({ amount: 3, id: 'r-1' }, { 'idempotency-key': 'another request' }), { status: 201, body: { used: 7 } })
    for (const other of [
      { amount: 4, id: 'r-1' },
      { used: 3, id: 'r-1' },
      { amount: 1, id: 'r-1', entitlement: 'seats' },
    ])
      t.like(await report(other), { status: 422, body: { code: 'idempotency_key_reused' } })
    t.like((await send(shop, eventOf('r-1', 1))).body, { accepted: 1 }, "an event's id is another")
    const all = await Promise.all(Array.from({ length: 10 }, () => report({ amount: 2, id: 'r-2' })))
    t.true(all.every(({ status }) => status === 201))
    t.is(await used(shop), 10)
  })

  story('callers report what they may, in their storefronts only', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate, terms)
    await shop.subscribe('ann')
    await shop.api.post('/storefronts', { id: 'other', currency: 'USD', paymentProviders: ['psp-main'] })
    const key = (await shop.api.post('/api-keys', { role: 'sidecar', storefronts: ['other'] })).body.secret
    const limited = httpClient(tollgate.http, { key })
    t.deepEqual((await send({ api: limited }, [eventOf('a', 1)])).body.rejected, [{ index: 0, code: 'forbidden', field: 'data.storefrontId' }])
    const reader = httpClient(tollgate.http, { key: (await shop.api.post('/api-keys', { role: 'read' })).body.secret })
    t.is((await send({ api: reader }, [eventOf('a', 1)])).status, 403)
    t.is(await used(shop), 0)
  })

  story('a customer that was erased and made again is another', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate, terms)
    await shop.subscribe('ann')
    t.like((await send(shop, eventOf('b', 4))).body, { accepted: 1 })
    t.true((await shop.api.call('DELETE', '/storefronts/us-store/customers/ann?cancel=now')).status < 300)
    await shop.subscribe('ann')
    t.like((await send(shop, eventOf('b', 4))).body, { accepted: 1 })
    t.is(await used(shop), 4)
  })

  story('a body of another type is refused, and the media types of CloudEvents are no JSON elsewhere', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate, terms)
    t.is((await shop.api.post('/usage-events', eventOf('a', 1), { 'content-type': 'text/plain' })).status, 415)
    t.is((await shop.api.call('POST', '/usage-events', '[{', batch)).body.code, 'malformed_json')
    t.is((await shop.api.call('POST', '/usage-events', JSON.stringify([eventOf('x'.repeat(1_100_000), 1)]), batch)).status, 413)
  })
})
