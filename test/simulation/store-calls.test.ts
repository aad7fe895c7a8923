/**
 * How often one sale, one renewal and one webhook go to storage and to the feed. Each call is a round trip, so a call
 * that creeps in is seen here. The figures are ceilings: fewer is better, and then they are lowered.
 */

import test, { type ExecutionContext } from 'ava'
import type { Feed } from '../../common/feed/feed.ts'
import { refundPayment } from '../../control-plane/engine/refund-payment.ts'
import { collectionNames } from '../../control-plane/storage/documents.ts'
import type { Storage } from '../../control-plane/storage/storage.ts'
import { createSubscription } from '../../control-plane/subscriptions/create-subscription.ts'
import { tenantScope } from '../../control-plane/tenant-scope.ts'
import { doWork } from '../../control-plane/work/do-work.ts'
import { createDailyBundle, openLaboratory, storefront } from './laboratory.ts'

const HOUR_MS = 3_600_000
const WRITES = ['insert', 'replace', 'remove']

interface Calls {
  reads: number
  writes: number
  puts: number
}

/** The laboratory, with every call counted and noted. */
const open = async () => {
  const laboratory = openLaboratory()
  let noted: string[] = []
  const counted = <T extends object>(name: string, target: T): T =>
    new Proxy(target, {
      get: (object, method) => {
        const value = Reflect.get(object, method) as unknown
        if (typeof value !== 'function' || name === '' || method === 'mayReorder') return value
        return (...args: unknown[]) => {
          noted.push(`${name}.${String(method)}`)
          return (value as (...all: unknown[]) => unknown).apply(object, args)
        }
      },
    })
  const { services } = laboratory
  const storage = { ...services.storage, ...Object.fromEntries(collectionNames.map((name) => [name, counted(name, services.storage[name])])) } as Storage
  Object.assign(services, { storage, feed: counted<Feed>('feed', services.feed) })
  const during = async (work: () => Promise<unknown>): Promise<Calls & { noted: string[] }> => {
    noted = []
    await work()
    const of = (isOne: (call: string) => boolean) => noted.filter(isOne).length
    const isWrite = (call: string) => WRITES.includes(call.split('.')[1] ?? '')
    const isFeed = (call: string) => call.startsWith('feed.')
    return { noted, writes: of(isWrite), reads: of((call) => !isWrite(call) && !isFeed(call)), puts: of((call) => call.startsWith('feed.put')) }
  }
  const tenant = await laboratory.newTenant('t', undefined, storefront)
  await createDailyBundle(laboratory, tenant)
  const sell = (id: string, paymentMethod: string) =>
    createSubscription(tenantScope(services, tenant), id, { customerId: `c-${id}`, bundleId: 'daily', storefrontId: 'shop', paymentMethod })
  return { laboratory, tenant, sell, during }
}

const atMost = (t: ExecutionContext, { noted, ...calls }: Calls & { noted: string[] }, ceiling: Calls) => {
  t.log(`${JSON.stringify(calls)}: ${noted.join(' ')}`)
  for (const kind of ['reads', 'writes', 'puts'] as const) t.true(calls[kind] <= ceiling[kind], `${kind}: ${calls[kind]}, at most ${ceiling[kind]}`)
}

test('a sale to a new customer', async (t) => {
  const { laboratory, sell, during } = await open()
  atMost(t, await during(() => sell('s', 'good')), { reads: 18, writes: 8, puts: 1 })
  await laboratory.close()
})

test('a renewal that the worker finds due', async (t) => {
  const { laboratory, tenant, sell, during } = await open()
  const { subscription } = await sell('s', 'good')
  laboratory.pass(24 * HOUR_MS)
  const renewal = await during(() => doWork(tenantScope(laboratory.services, tenant), 'subscriptions', subscription))
  t.is(laboratory.bank.kept('pay'), 200)
  atMost(t, renewal, { reads: 7, writes: 6, puts: 1 })
  await laboratory.close()
})

test('a refund, with what it does to the subscription', async (t) => {
  const { laboratory, tenant, sell, during } = await open()
  const { payment } = await sell('s', 'good')
  const refund = await during(() => refundPayment(tenantScope(laboratory.services, tenant), payment?.id ?? '', 'ref', 10))
  atMost(t, refund, { reads: 9, writes: 6, puts: 1 })
  await laboratory.close()
})

test('a webhook that makes the payment of a sale succeed', async (t) => {
  const { laboratory, sell, during } = await open()
  const { subscription } = await sell('s', 'pending_60')
  t.is(subscription.status, 'incomplete')
  laboratory.pass(HOUR_MS)
  const webhook = await during(async () => laboratory.services.psps.sandbox?.moveTo('t', laboratory.services.clock.now()))
  t.is(laboratory.bank.kept('pay'), 100)
  atMost(t, webhook, { reads: 9, writes: 6, puts: 1 })
  await laboratory.close()
})
