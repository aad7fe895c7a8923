/** Everything that a customer holds, at every change, by a stream that may be cut. */
import test, { type ExecutionContext } from 'ava'
import { createTollgate, type Holdings, type Tollgate, type TollgateOptions } from '../../client/index.ts'
import { systemClock } from '../../common/clock.ts'
import { createInProcessFeed } from '../../common/feed/in-process.ts'
import { eventually } from '../support/eventually.ts'
import { openSidecar, setOf } from '../support/sidecar.ts'
import { createProxy } from '../support/tcp-proxy.ts'

const clientOf = (t: ExecutionContext, options: Partial<TollgateOptions>): Tollgate => {
  const tollgate = createTollgate({ tenant: 'acme', storefront: 'us', ...options })
  t.teardown(() => tollgate.close())
  return tollgate
}

test('a watcher is told what a customer holds, at once and at every change, through cuts, until it has enough', async (t) => {
  const feed = createInProcessFeed({ clock: systemClock })
  const { address } = await openSidecar({}, { feed })
  const proxy = await createProxy(`tcp://${address}`)
  t.teardown(() => proxy.close())
  const tollgate = clientOf(t, { address: proxy.url.slice('tcp://'.length) })
  const stop = new AbortController()
  const seen: Holdings[] = []
  const reason = new Error('enough')
  const watching = t.throwsAsync(async () => {
    for await (const holdings of tollgate.watch({ customer: 'anna' }, { signal: stop.signal })) seen.push(holdings)
  })
  await eventually(() => seen.length === 1)
  t.like(seen[0], { customerKnown: false, revision: 0, from: 'sidecar' })
  await feed.putSet(setOf('anna'))
  await eventually(() => seen.at(-1)?.revision === 1)
  t.like(seen.at(-1)?.entitlements.get('seats'), { allowed: true, kind: 'capacity', remaining: 5 })
  proxy.cut()
  await feed.putSet(setOf('anna', 2, { grants: [] }))
  await new Promise((resolve) => setTimeout(resolve, 300))
  proxy.restore()
  await eventually(() => seen.at(-1)?.revision === 2)
  t.is(seen.at(-1)?.entitlements.size, 0)
  await feed.putSet(setOf('anna', 3, { grants: [], usage: [], removed: true }))
  await eventually(() => seen.at(-1)?.customerKnown === false)
  stop.abort(reason)
  t.is(await watching, reason)
})

test('a watcher that leaves its loop ends its stream, and one that waits for a sidecar can be stopped', async (t) => {
  const feed = createInProcessFeed({ clock: systemClock })
  await feed.putSet(setOf('anna'))
  const sidecar = await openSidecar({}, { feed })
  const tollgate = clientOf(t, { address: sidecar.address })
  for await (const { revision } of tollgate.watch({ customer: 'anna' })) {
    t.is(revision, 1)
    break
  }
  const watch = tollgate.watch({ customer: 'anna' })[Symbol.asyncIterator]()
  await watch.next()
  const next = watch.next()
  await sidecar.close()
  const stop = new AbortController()
  const reason = new Error('enough')
  const waiting = t.throwsAsync(async () => {
    for await (const _ of tollgate.watch({ customer: 'anna' }, { signal: stop.signal })) t.fail('there is nobody')
  })
  await new Promise((resolve) => setTimeout(resolve, 300))
  stop.abort(reason)
  t.is(await waiting, reason)
  tollgate.close()
  t.like(await t.throwsAsync(next), { code: 'closed' })
  await t.throwsAsync(tollgate.watch({ customer: 'anna' })[Symbol.asyncIterator]().next(), { message: /closed/ })
})
