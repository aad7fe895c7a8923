/** The log of events as its readers see it. */
import test from 'ava'
import type { EventEnvelope } from '../../control-plane/events/envelope.ts'
import { eventually } from '../support/eventually.ts'
import { httpClient } from '../support/http-client.ts'
import { type InWorld, inWorlds } from '../support/in-worlds.ts'
import { bundleDocument } from '../support/platform-model.ts'
import { openShop } from '../support/shop.ts'

const open = async ({ t, tollgate }: InWorld) => {
  const shop = await openShop(t, tollgate)
  const { api } = shop
  const ok = async (answer: ReturnType<typeof api.get>) => {
    const { status, body } = await answer
    t.true(status < 300, JSON.stringify(body))
    return body
  }
  const page = (query: string): Promise<{ data: EventEnvelope[]; cursor: string; nextCursor?: string }> => ok(api.get(`/events?${query}`))
  const read = async (query = ''): Promise<EventEnvelope[]> => (await page(`limit=500&${query}`)).data
  const meet = (id: string, change: object = {}) => api.post('/customers', { id, storefrontId: 'us-store', ...change })
  /** Waits until the log has so many events that pass the filter. */
  const told = async (query: string, count: number): Promise<EventEnvelope[]> => {
    await eventually(async () => (await read(query)).length >= count)
    return read(query)
  }
  return { ...shop, ok, page, read, meet, told }
}

const types = (events: readonly { type: string }[]): string[] => events.map(({ type }) => type)
const customerOf = (id: string): string => `/storefronts/us-store/customers/${id}`
const bySubject = (id: string): string => `subject=${encodeURIComponent(customerOf(id))}`

inWorlds(test, (story) => {
  story('pages of any size show each event once, and the cursor of one filter goes on under another', async (world) => {
    const { t } = world
    const { meet, page, told } = await open(world)
    for (let n = 0; n < 7; n += 1) await meet(`c${n}`)
    const all = await told('', 8)
    t.deepEqual(types(all), ['bundle.created', ...Array(7).fill('customer.created')])
    const seen: EventEnvelope[] = []
    for (let cursor = ''; ; ) {
      const { data, nextCursor, cursor: place } = await page(`limit=3${cursor && `&cursor=${cursor}`}`)
      seen.push(...data)
      cursor = place
      if (nextCursor === undefined) break
      t.is(nextCursor, place)
    }
    t.deepEqual(seen, all)
    const first = await page('limit=1&types=customer.*')
    t.deepEqual(types(first.data), ['customer.created'])
    t.is((await page(`limit=500&cursor=${first.cursor}`)).data.length, 6, 'what a filter has left out is behind the cursor')
    t.deepEqual((await page('from=latest')).data, [])
    t.deepEqual((await page('limit=500&types=payment.*,bundle.created')).data, all.slice(0, 1))
    t.deepEqual((await page(`limit=500&${bySubject('c3')}`)).data, all.slice(4, 5))
  })

  story('a cursor, a type, a limit and a wait that are none are refused', async (world) => {
    const { api } = await open(world)
    const foreign = Buffer.from('e99999999999999999').toString('base64url')
    for (const query of ['cursor=nonsense', `cursor=${foreign}`, 'types=customer', 'types=', 'types=nobody.*', 'limit=0', 'limit=501', 'wait=31', 'wait=-1'])
      world.t.is((await api.get(`/events?${query}`)).status, 400, query)
  })

  story('a reader who waits is answered when something happens that it waits for, or after its time', async (world) => {
    const { t } = world
    const { api, page, meet, told } = await open(world)
    await told('', 1)
    const { cursor } = await page('from=latest')
    const begun = Date.now()
    t.deepEqual((await page(`wait=1&cursor=${cursor}`)).data, [])
    t.true(Date.now() - begun >= 900)
    const waiting = page(`wait=20&types=customer.updated&cursor=${cursor}`)
    await meet('ann')
    await api.patch(customerOf('ann'), { name: 'Ann' })
    t.deepEqual(types((await waiting).data), ['customer.updated'])
    t.true(Date.now() - begun < 15_000)
  })

  story('a key of one storefront sees the events of that storefront, and no others by their id', async (world) => {
    const { t, tollgate } = world
    const { api, ok, meet, told } = await open(world)
    const { secret } = await ok(api.post('/api-keys', { role: 'read', storefronts: ['eu-store'] }))
    await meet('ann')
    await api.post('/customers', { id: 'eva', storefrontId: 'eu-store' })
    const all = await told('types=customer.created', 2)
    const limited = httpClient(tollgate.http, { key: secret })
    const { status, body } = await limited.get('/events?limit=500')
    t.is(status, 200, JSON.stringify(body))
    t.deepEqual(
      body.data.map(({ subject }: EventEnvelope) => subject),
      ['/storefronts/eu-store/customers/eva'],
    )
    const [own, foreign] = [all.find(({ subject }) => subject.includes('eu-store')), all.find(({ subject }) => subject.includes('us-store'))]
    t.deepEqual([(await limited.get(`/events/${own?.id}`)).status, (await limited.get(`/events/${foreign?.id}`)).status], [200, 404])
  })

  story('an erasure takes everything personal out of the log, and an id that is used again counts on', async (world) => {
    const { t } = world
    const { api, meet, read, told, subscribe } = await open(world)
    await meet('ann', { email: 'ann@example.com', name: 'Ann Secret' })
    await api.patch(customerOf('ann'), { name: 'Ann Hidden' })
    const before = await told(bySubject('ann'), 2)
    t.is((await api.call('DELETE', customerOf('ann'))).status < 300, true)
    await eventually(async () => (await read('types=customer.erased')).length === 1 && (await read(bySubject('ann'))).length === 1)
    const text = JSON.stringify(await read())
    t.notRegex(text, /ann@example\.com|Ann Secret|Ann Hidden/)
    const [erased] = await read(bySubject('ann'))
    t.is(erased?.type, 'customer.erased')
    t.is((await meet('ann', { name: 'Ann Again' })).status, 201)
    const after = await told(bySubject('ann'), 2)
    t.deepEqual(types(after), ['customer.erased', 'customer.created'])
    const sequences = [...before.map(({ sequence }) => sequence), ...after.map(({ sequence }) => sequence)]
    t.deepEqual(sequences, [...new Set(sequences)].toSorted(), 'the sequence grows')
    t.is((await subscribe('ann')).status, 201)
  })

  story('what is written right after a purchase or a creation meets no other revision', async (world) => {
    const { t } = world
    const { api } = await open(world)
    for (let n = 0; n < 10; n += 1) {
      const made = await api.post('/customers', { id: `c${n}`, storefrontId: 'us-store' })
      const etag = made.headers.get('etag')
      t.truthy(etag)
      const changed = await api.call('PATCH', customerOf(`c${n}`), { name: 'Ann' }, { 'if-match': etag ?? '' })
      t.is(changed.status, 200, JSON.stringify(changed.body))
    }
  })

  story('a purchase of as many entitlements as a bundle can have is one event with all of them', async (world) => {
    const { t } = world
    const { api, ok, told } = await open(world)
    const entitlements = Array.from({ length: 200 }, (_, n) => ({ type: 'feature_flag', value: `feature_${n}` }))
    await ok(api.post('/bundles', { ...bundleDocument, id: 'large', entitlements }))
    await ok(api.post('/subscriptions', { customerId: 'c', bundleId: 'large', storefrontId: 'us-store', paymentMethod: 'pm_card' }))
    const [granted, ...more] = await told('types=entitlement.*', 1)
    t.deepEqual([granted?.type, more.length], ['entitlement.granted', 0])
    t.like(granted?.data, { entitlements: { length: 200 } })
  })
})
