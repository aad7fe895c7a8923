/**
 * `npm run bench:tenants`: the memory of one worker, in a process of its own, while thousands of tenants have a backlog.
 *
 *   npm run bench:tenants -- --tenants 10000 --due 5 --seconds 60
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import pMap from 'p-map'
import { createBundle } from '../../control-plane/catalog/bundles.ts'
import { createTenant } from '../../control-plane/catalog/tenants.ts'
import { keys } from '../../control-plane/keys.ts'
import { createSubscription } from '../../control-plane/subscriptions/create-subscription.ts'
import { copyOf, openStorageOf } from '../../test/support/due-subscriptions.ts'
import { createBenchServices } from './services.ts'
import { startWorkerProcess } from './worker-process.ts'

const { values } = parseArgs({
  options: { tenants: { type: 'string', default: '10000' }, due: { type: 'string', default: '5' }, seconds: { type: 'string', default: '60' } },
})
const tenants = Number(values.tenants)
const dueEach = Number(values.due)
const storefront = {
  id: 'shop',
  name: 'shop',
  currency: 'USD',
  timeZone: 'UTC',
  routing: { split: [{ account: 'bank', weight: 1 }], fallback: [], rules: [] },
  billing: { graceHours: 72, retryHours: [24], firstPaymentHours: 23, proration: 'day' as const, maxAttempts: 15, maxAttemptsDays: 30 },
}

const folder = mkdtempSync(join(tmpdir(), 'tollgate-bench-'))
const storage = await openStorageOf({ DATA_DIR: folder })
try {
  const services = createBenchServices(storage, 0)
  const make = (id: string) => createTenant(services, { id, name: id, mode: 'live', storefronts: [storefront] }, `key-${id}`)
  const { tenant } = await make('t0')
  await createBundle(services, tenant, 'shop', 'daily', {
    name: 'daily',
    pricing: { amountMinor: 100, currency: 'USD', interval: 'day', intervalCount: 1 },
    entitlements: Array.from({ length: 5 }, (_, n) => ({ key: `feature-${n}`, kind: 'flag' as const, enabled: true })),
    trialDays: 0,
    refundEndsAccess: false,
  })
  const { subscription } = await createSubscription(services, tenant, 'template', {
    customerId: 'c',
    bundleId: 'daily',
    storefrontId: 'shop',
    paymentMethod: 'good',
  })
  const customer = { ...(await storage.customers.get(keys.customer('t0', 'shop', 'c'))), repairAt: undefined }
  await pMap(Array.from({ length: tenants - 1 }), (_, n) => make(`t${n + 1}`), { concurrency: 64 })
  // In bulk: what is timed begins later.
  const database = new DatabaseSync(join(folder, 'tollgate.sqlite'), { timeout: 10_000 })
  const dueAt = new Date(Date.now() - 3_600_000)
  database.exec('BEGIN')
  for (const [collection, pick] of [
    ['subscriptions', 'subscription'],
    ['customers', 'customer'],
  ] as const) {
    const insert = database.prepare(`INSERT INTO ${collection} (id, revision, document) VALUES (?, 1, ?)`)
    for (let n = 0; n < tenants; n += 1)
      for (let of = 0; of < dueEach; of += 1) {
        const tenantId = `t${n}`
        const template = { subscription: { ...subscription, tenantId }, customer: { ...customer, tenantId } }
        const copy = copyOf(template, `due-${of}`, dueAt)[pick]
        insert.run(copy._id, JSON.stringify({ ...copy, revision: 1, updatedAt: copy.createdAt }))
      }
  }
  database.exec('COMMIT')
  database.close()
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
