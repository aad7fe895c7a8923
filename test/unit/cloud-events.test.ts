import test from 'ava'
import { readUsageEvent } from '../../control-plane/http/cloud-events.ts'

const now = new Date('2024-03-15T12:00:00Z')
const event = { specversion: '1.0', id: 'e-1', source: '/gateway', type: 'calls', subject: 'ann', data: { storefrontId: 'shop', amount: 3 } }
const read = (change: object) => readUsageEvent({ ...event, ...change }, now)

test('an event says who used what, how much and when', (t) => {
  const plain = { source: '/gateway', id: 'e-1', storefrontId: 'shop', customerId: 'ann', entitlement: 'calls', amount: 3, at: now }
  t.deepEqual(read({}), plain)
  t.deepEqual(read({ time: '2024-03-15T13:00:00.5+02:00' }), { ...plain, at: new Date('2024-03-15T11:00:00.500Z') })
  t.deepEqual(read({ data: { storefrontId: 'shop', amount: -2 } }), { ...plain, amount: -2 })
  t.deepEqual(
    read({ datacontenttype: 'application/json', traceparent: '00-1-2-00', time: null, data: { ...event.data, region: 'eu' } }),
    plain,
    'what others add is left alone',
  )
})

test('the time is within 35 days, and may be a little ahead, of a clock that is not right', (t) => {
  const atOf = (time: string) => {
    const one = read({ time })
    return 'at' in one ? one.at.toISOString() : one
  }
  t.is(atOf('2024-03-15T12:05:00Z'), '2024-03-15T12:00:00.000Z')
  t.deepEqual(atOf('2024-03-15T12:05:01Z'), { code: 'invalid_request', field: 'time' })
  t.is(atOf('2024-02-09T12:00:00Z'), '2024-02-09T12:00:00.000Z')
  t.deepEqual(atOf('2024-02-09T11:59:59Z'), { code: 'invalid_request', field: 'time' })
})

const wrong: [change: object, field: string][] = [
  [{ specversion: undefined }, 'specversion'],
  [{ specversion: '0.3' }, 'specversion'],
  [{ id: undefined }, 'id'],
  [{ id: '' }, 'id'],
  [{ id: 7 }, 'id'],
  [{ source: undefined }, 'source'],
  [{ source: 'not a URI' }, 'source'],
  [{ type: '' }, 'type'],
  [{ subject: undefined }, 'subject'],
  [{ subject: 'a/b' }, 'subject'],
  [{ time: 'yesterday' }, 'time'],
  [{ time: '2024-03-15' }, 'time'],
  [{ time: 7 }, 'time'],
  [{ Colour: 'red' }, 'Colour'],
  [{ data: undefined }, 'data'],
  [{ data: 3 }, 'data'],
  [{ data: { amount: 1 } }, 'data.storefrontId'],
  [{ data: { storefrontId: 'shop', amount: 0.5 } }, 'data.amount'],
  [{ data: { storefrontId: 'shop', amount: 2 ** 53 } }, 'data.amount'],
]

test('what is no usage event is named by the attribute that is wrong', (t) => {
  for (const [change, field] of wrong) t.deepEqual(read(change), { code: 'invalid_request', field }, JSON.stringify(change))
  for (const none of [7, null, 'event', []]) t.like(readUsageEvent(none, now), { code: 'invalid_request' })
})
