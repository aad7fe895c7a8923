/** Calls that wait for a revision: for how long, how many, and for whom. */
import { credentials, Metadata } from '@grpc/grpc-js'
import test from 'ava'
import { systemClock } from '../../common/clock.ts'
import type { Grant } from '../../common/entitlements/model.ts'
import { createInProcessFeed } from '../../common/feed/in-process.ts'
import { EntitlementServiceClient } from '../../proto/gen/entitlement/v1/entitlement.ts'
import { eventually } from '../support/eventually.ts'
import { movableClock, openSidecar, setOf, type TestSidecar } from '../support/sidecar.ts'
import { createProxy } from '../support/tcp-proxy.ts'

const { customerId, storefrontId, tenantId } = setOf('anna')

test('who waits for a revision that never comes is not waited with for longer than half a minute', async (t) => {
  const clock = movableClock()
  const sidecar = await openSidecar({}, { clock })
  const from = Date.now()
  // Forty days is more than a timer takes: it must not end at once either.
  const waited = sidecar.check('anna', 'sso', { minRevision: 9n, deadlineMs: 40 * 86_400_000 }).catch((error: { code: number }) => error.code)
  const first = await Promise.race([waited, new Promise((resolve) => setTimeout(() => resolve('still waiting'), 500))])
  t.is(first, 'still waiting')
  t.true(Date.now() - from < 5_000)
  await sidecar.close()
})

test('only so many wait for a revision at once; when they have gone, others may', async (t) => {
  const sidecar = await openSidecar({})
  const wait = (forMs: number) =>
    sidecar.replica.waitFor({ tenantId, storefrontId, customerId }, 9, Date.now() + forMs).catch(({ code }: { code: string }) => code)
  const waiting = Array.from({ length: 20_000 }, () => wait(2_000))
  t.is(await wait(2_000), 'unavailable')
  t.deepEqual([...new Set(await Promise.all(waiting))], ['revision_not_reached'])
  t.is(await wait(10), 'revision_not_reached')
  await sidecar.close()
})

test('a sidecar that closes lets nobody wait on', async (t) => {
  const sidecar = await openSidecar({})
  const waited = sidecar.replica.waitFor({ tenantId, storefrontId, customerId }, 9, Date.now() + 60_000)
  await sidecar.close()
  await t.throwsAsync(waited, { code: 'unavailable' })
})

const shapes: Record<string, Record<string, string>> = {
  fast: {},
  'grpc-js': { SIDECAR_TRANSPORT: 'grpc-js' },
  'fast, two threads': { SIDECAR_WORKERS: '2' },
}

/** The number of calls that wait, by the sidecar's own word. */
const waitingAt = async ({ httpUrl }: TestSidecar) => Number(/^tollgate_waiting_calls (.*)$/m.exec(await (await fetch(`${httpUrl}/metrics`)).text())?.[1])

/** A set that a cache of one mebibyte has no room for. */
const tooLargeToHold = (revision: number) => {
  const seat: Grant = { key: 'seats', subscriptionId: 'sub', bundleId: 'pro', fromMs: 0, inactive: false, terms: { kind: 'capacity', limit: 1 } }
  return setOf('anna', revision, { grants: Array.from({ length: 1_500 }, () => seat) })
}

for (const [name, env] of Object.entries(shapes)) {
  test(`${name}: a revision is reached also by a set that the cache has no room for`, async (t) => {
    const feed = createInProcessFeed({ clock: systemClock })
    const sidecar = await openSidecar({ ...env, CACHE_MAX_BYTES: '1MiB' }, { feed })
    await feed.putSet(tooLargeToHold(5))
    t.like(await sidecar.check('anna', 'seats', { minRevision: 5n }), { allowed: true, limit: 1_500n, revision: 5n })
    t.is(sidecar.replica.held({ tenantId, storefrontId, customerId }), undefined)
    const waited = sidecar.check('anna', 'seats', { minRevision: 6n })
    await eventually(async () => (await waitingAt(sidecar)) === 1)
    await feed.putSet(tooLargeToHold(6))
    t.like(await waited, { allowed: true, limit: 1_500n, revision: 6n })
    const error = await t.throwsAsync(sidecar.check('anna', 'seats', { minRevision: 7n, deadlineMs: 3_000 }))
    t.regex(error.message, /FAILED_PRECONDITION: .* not at revision 7 yet; it is at 6$/)
    await sidecar.close()
  })

  test(`${name}: nobody is waited for who has hung up, whether one call is canceled or the connection is gone`, async (t) => {
    const sidecar = await openSidecar(env)
    const proxy = await createProxy(`http://${sidecar.address}`)
    const waiting = () => waitingAt(sidecar)
    const customer = { tenantId, storefrontId, customerId, minRevision: 9n }
    const check = { ...customer, entitlement: 'sso', amount: 0n }
    const deadline = { deadline: Date.now() + 3_600_000 }
    const ignore = () => undefined
    for (let round = 0; round < 2; round += 1) {
      // Connections of their own, so that with two threads each has some.
      const opened = Array.from(
        { length: 8 },
        () => new EntitlementServiceClient(new URL(proxy.url).host, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 }),
      )
      const calls = opened.flatMap((client) => [
        client.checkEntitlement(check, new Metadata(), deadline, ignore),
        client.batchCheckEntitlements({ checks: [check, check] }, new Metadata(), deadline, ignore),
        client.listEntitlements(customer, new Metadata(), deadline, ignore),
        client.watchEntitlements(customer, new Metadata(), deadline).on('error', ignore),
      ])
      await eventually(async () => (await waiting()) === 8 * 5)
      for (const call of calls.slice(0, 16)) call.cancel()
      await eventually(async () => (await waiting()) === 4 * 5)
      proxy.cut()
      await eventually(async () => (await waiting()) === 0)
      proxy.restore()
      for (const client of opened) client.close()
    }
    t.is(await waiting(), 0)
    await proxy.close()
    await sidecar.close()
  })
}
