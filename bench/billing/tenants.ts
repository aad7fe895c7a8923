/**
 * `npm run bench:tenants`: the memory of one worker, in a process of its own, while thousands of tenants have a backlog.
 *
 *   npm run bench:tenants -- --tenants 10000 --due 5 --seconds 60
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import pMap from 'p-map'
import { copyOf, openStorageOf } from '../../test/support/due-subscriptions.ts'
import { createBenchServices } from './services.ts'
import { insertInBulk, makeTemplate, makeTenant } from './template.ts'
import { startWorkerProcess } from './worker-process.ts'

const { values } = parseArgs({
  options: { tenants: { type: 'string', default: '10000' }, due: { type: 'string', default: '5' }, seconds: { type: 'string', default: '60' } },
})
const tenants = Number(values.tenants)
const dueEach = Number(values.due)

const folder = mkdtempSync(join(tmpdir(), 'tollgate-bench-'))
const storage = await openStorageOf({ DATA_DIR: folder })
try {
  const services = createBenchServices(storage, 0)
  const template = await makeTemplate(services, 't0')
  await pMap(Array.from({ length: tenants - 1 }), (_, n) => makeTenant(services, `t${n + 1}`), { concurrency: 64 })
  const dueAt = new Date(Date.now() - 3_600_000)
  /** Of each tenant as many as are wanted. */
  const copies = function* (pick: 'subscription' | 'customer') {
    for (let n = 0; n < tenants; n += 1)
      for (let of = 0; of < dueEach; of += 1) {
        const tenantId = `t${n}`
        const own = { subscription: { ...template.subscription, tenantId }, customer: { ...template.customer, tenantId } }
        yield copyOf(own, `due-${of}`, dueAt)[pick]
      }
  }
  insertInBulk(folder, 'subscriptions', copies('subscription'))
  insertInBulk(folder, 'customers', copies('customer'))
  const idle = await startWorkerProcess({ DATA_DIR: mkdtempSync(join(folder, 'empty-')) }, 0)
  await sleep(3_000)
  const idleMib = await idle()
  const stop = await startWorkerProcess({ DATA_DIR: folder }, 0)
  await sleep(Number(values.seconds) * 1_000)
  const mib = await stop()
  const left = async () => {
    let count = 0
    for (let n = 0; n < tenants; n += Math.max(1, Math.floor(tenants / 200)))
      count +=
        (await storage.subscriptions.due({ by: 'dueAt', where: { clock: 'system', tenantId: `t${n}` }, until: new Date(), limit: 500 })).length > 0 ? 1 : 0
    return count
  }
  process.stdout.write(
    `${tenants} tenants with ${dueEach} due each; ${mib.toFixed(0)} MiB at most, ${idleMib.toFixed(0)} with nothing to do; of 200 tenants ${await left()} still had a backlog at the end\n`,
  )
} finally {
  await storage.close()
  rmSync(folder, { recursive: true, force: true })
}
