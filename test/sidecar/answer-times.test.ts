/** `tollgate_answer_seconds` counts every answer once, under the method that was called, whichever way the answer was made. */
import { Client, credentials, Metadata } from '@grpc/grpc-js'
import test from 'ava'
import { systemClock } from '../../common/clock.ts'
import { createInProcessFeed } from '../../common/feed/in-process.ts'
import type { CheckEntitlementRequest } from '../../proto/gen/entitlement/v1/entitlement.ts'
import { ServiceClient as FlagdClient } from '../../proto/gen/flagd/evaluation/v1/evaluation.ts'
import { openSidecar, setOf, type TestSidecar } from '../support/sidecar.ts'

const SERVICE = '/entitlement.v1.EntitlementService'
const FLAGD = '/flagd.evaluation.v1.Service'
const CUSTOMERS = ['anna', 'bert', 'cleo', 'dora', 'emil']

const customer = (customerId: string) => ({ tenantId: 'acme', storefrontId: 'us', customerId, minRevision: 0n })
const checkOf = (customerId: string): CheckEntitlementRequest => ({ ...customer(customerId), entitlement: 'sso', amount: 0n })

const open = async (transport: string): Promise<TestSidecar> => {
  const feed = createInProcessFeed({ clock: systemClock })
  for (const id of CUSTOMERS) await feed.putSet(setOf(id))
  return openSidecar({ SIDECAR_TRANSPORT: transport, FLAG_TENANT: 'acme', FLAG_STOREFRONT: 'us' }, { feed })
}

/** What has been counted, by the last part of the method's path. */
const countsOf = async ({ httpUrl }: TestSidecar): Promise<Record<string, number>> => {
  const text = await (await fetch(`${httpUrl}/metrics`)).text()
  return Object.fromEntries([...text.matchAll(/^tollgate_answer_seconds_count\{method="(.*)"\} (.*)$/gm)].map(([, path, count]) => [path, Number(count)]))
}

const batch = ({ client }: TestSidecar, checks: CheckEntitlementRequest[]): Promise<number | undefined> =>
  new Promise((resolve) => client.batchCheckEntitlements({ checks }, (error, answer) => resolve(error ? error.code : -answer.results.length)))
const times = <T>(count: number, value: T): T[] => Array.from({ length: count }, () => value)

for (const transport of ['fast', 'grpc-js']) {
  test(`${transport}: batches count as batches, small or large, held or fetched, answered or refused`, async (t) => {
    const sidecar = await open(transport)
    t.is(await batch(sidecar, times(2, checkOf('anna'))), -2, 'fetched')
    t.is(await batch(sidecar, [checkOf('anna')]), -1, 'held, and small enough to be written where it is sent from')
    t.is(await batch(sidecar, times(100, checkOf('anna'))), -100, 'held, and too large for that')
    t.is(await batch(sidecar, times(1_000, checkOf('anna'))), -1_000, 'held, with a request of several frames')
    t.is(await batch(sidecar, [checkOf('')]), 3, 'refused')
    t.deepEqual(await countsOf(sidecar), { [`${SERVICE}/BatchCheckEntitlements`]: 5 })
    for (let n = 0; n < 3; n += 1) t.true((await sidecar.check('anna', 'sso')).allowed)
    await sidecar.check('bert', 'sso')
    await t.throwsAsync(sidecar.check('', 'sso'))
    await t.throwsAsync(sidecar.check('anna', 'sso', { minRevision: 2n, deadlineMs: 100 }))
    t.deepEqual(await countsOf(sidecar), { [`${SERVICE}/BatchCheckEntitlements`]: 5, [`${SERVICE}/CheckEntitlement`]: 6 })
    await sidecar.close()
  })

  test(`${transport}: calls that come together count each under its own method`, async (t) => {
    const sidecar = await open(transport)
    await Promise.all(CUSTOMERS.map((id) => sidecar.check(id, 'sso')))
    const before = (await countsOf(sidecar))[`${SERVICE}/CheckEntitlement`]
    t.is(before, CUSTOMERS.length)
    await Promise.all(
      CUSTOMERS.flatMap((id) => [
        sidecar.check(id, 'sso'),
        batch(sidecar, [checkOf(id)]),
        sidecar.check('nobody', 'sso'),
        batch(sidecar, times(50, checkOf(id))),
      ]),
    )
    t.deepEqual(await countsOf(sidecar), { [`${SERVICE}/CheckEntitlement`]: 3 * CUSTOMERS.length, [`${SERVICE}/BatchCheckEntitlements`]: 2 * CUSTOMERS.length })
    await sidecar.close()
  })

  test(`${transport}: a stream counts once, with its first message, or with its end when it has none`, async (t) => {
    const sidecar = await open(transport)
    const { client } = sidecar
    const watch = client.watchEntitlements(customer('anna'))
    await new Promise((resolve) => watch.once('data', resolve))
    t.deepEqual(await countsOf(sidecar), { [`${SERVICE}/WatchEntitlements`]: 1 }, 'it need not have ended')
    watch.on('error', () => undefined).cancel()
    await new Promise((resolve) => client.watchEntitlements(customer('')).on('error', resolve).resume())
    const flagd = new FlagdClient(sidecar.address, credentials.createInsecure())
    const events = flagd.eventStream({})
    await new Promise((resolve) => events.once('data', resolve))
    events.on('error', () => undefined).cancel()
    await new Promise((resolve) => flagd.resolveBoolean({ flagKey: 'sso', context: { targetingKey: 'anna' } }, resolve))
    await new Promise((resolve) => client.listEntitlements(customer('anna'), resolve))
    await new Promise((resolve) => client.explainEntitlement(checkOf('anna'), new Metadata(), { deadline: Date.now() + 2_000 }, resolve))
    t.deepEqual(await countsOf(sidecar), {
      [`${SERVICE}/WatchEntitlements`]: 2,
      [`${FLAGD}/EventStream`]: 1,
      [`${FLAGD}/ResolveBoolean`]: 1,
      [`${SERVICE}/ListEntitlements`]: 1,
      [`${SERVICE}/ExplainEntitlement`]: 1,
    })
    flagd.close()
    await sidecar.close()
  })

  test(`${transport}: a path that names no method counts nowhere: labels are not for callers to make up`, async (t) => {
    const sidecar = await open(transport)
    const client = new Client(sidecar.address, credentials.createInsecure())
    const same = (bytes: Buffer) => bytes
    const code = await new Promise((resolve) => client.makeUnaryRequest(`${SERVICE}/MadeUp`, same, same, Buffer.alloc(0), (error) => resolve(error?.code)))
    t.is(code, 12)
    t.deepEqual(await countsOf(sidecar), {})
    client.close()
    await sidecar.close()
  })
}
