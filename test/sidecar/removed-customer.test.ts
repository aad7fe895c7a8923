/** A customer that is no more: what a sidecar held of it is forgotten, in memory and on disk, and it is answered as one that nobody knows. */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { systemClock } from '../../common/clock.ts'
import type { EntitlementSet } from '../../common/entitlements/model.ts'
import { createFaults } from '../../common/faults.ts'
import { createInProcessFeed } from '../../common/feed/in-process.ts'
import { createLog } from '../../common/log.ts'
import { Reason } from '../../proto/gen/entitlement/v1/entitlement.ts'
import { readSnapshot, writeSnapshot } from '../../sidecar/replica/snapshot.ts'
import { eventually } from '../support/eventually.ts'
import { openSidecar, setOf } from '../support/sidecar.ts'

const removalOf = (customerId: string, revision: number): EntitlementSet => setOf(customerId, revision, { grants: [], usage: [], removed: true })

const snapshotOf = async ({ replica }: Awaited<ReturnType<typeof openSidecar>>): Promise<string[]> => {
  const path = join(mkdtempSync(join(tmpdir(), 'tollgate-')), 'snapshot')
  await writeSnapshot(path, { ...replica, faults: createFaults(createLog('silent'), systemClock) }, undefined, systemClock.nowMs())
  const customers: string[] = []
  await readSnapshot(path, undefined, { set: ({ set }) => void customers.push(set.customerId), clock: () => undefined })
  return customers.toSorted()
}

for (const [transport, threads] of [
  ['fast', '1'],
  ['fast', '2'],
  ['grpc-js', '1'],
] as const) {
  test(`${transport}, ${threads} thread(s): removed it is unknown, late news of it changes nothing, and made anew it is there again`, async (t) => {
    const feed = createInProcessFeed({ clock: systemClock })
    const sidecar = await openSidecar({ SIDECAR_TRANSPORT: transport, SIDECAR_WORKERS: threads }, { feed })
    await feed.putSet(setOf('anna', 3))
    await feed.putSet(setOf('bert', 1))
    const reasonOf = async (customer: string) => (await sidecar.check(customer, 'sso')).reason
    for (const customer of ['anna', 'bert']) t.is(await reasonOf(customer), Reason.REASON_GRANTED)
    t.deepEqual(await snapshotOf(sidecar), ['anna', 'bert'])

    await feed.putSet(removalOf('anna', 4))
    await eventually(async () => (await reasonOf('anna')) === Reason.REASON_CUSTOMER_UNKNOWN)
    t.is(await reasonOf('bert'), Reason.REASON_GRANTED)
    t.deepEqual(await snapshotOf(sidecar), ['bert'])

    await feed.putSet(setOf('anna', 3))
    t.is(await reasonOf('anna'), Reason.REASON_CUSTOMER_UNKNOWN)
    await feed.putSet(setOf('anna', 5))
    await eventually(async () => (await reasonOf('anna')) === Reason.REASON_GRANTED)
    await sidecar.close()
  })
}

test('embedded, a set that was derived before the removal and is told after it is not taken', async (t) => {
  const stored = new Map([['anna', setOf('anna', 3)]])
  const feed = createInProcessFeed({
    clock: systemClock,
    lookup: { getSet: async ({ customerId }) => stored.get(customerId), getClock: async () => undefined },
  })
  const sidecar = await openSidecar({}, { feed })
  t.is((await sidecar.check('anna', 'sso')).reason, Reason.REASON_GRANTED)
  stored.delete('anna')
  await feed.putSet(removalOf('anna', 4))
  await feed.putSet(setOf('anna', 3))
  t.is((await sidecar.check('anna', 'sso')).reason, Reason.REASON_CUSTOMER_UNKNOWN)
  await sidecar.close()
})
