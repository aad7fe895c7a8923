/** Bundles that are older than the rule that a key keeps its kind are taken as they are. */

import test from 'ava'
import { createLog } from '../../common/log.ts'
import { createBundle, replaceBundle } from '../../control-plane/catalog/bundles.ts'
import { newStorefront } from '../../control-plane/catalog/storefronts.ts'
import type { Services } from '../../control-plane/ports.ts'
import type { BillingTerms } from '../../control-plane/schemas/storefront.ts'
import type { Tenant } from '../../control-plane/schemas/tenant.ts'
import { createSqliteStorage } from '../../control-plane/storage/sqlite.ts'
import { tenantScope } from '../../control-plane/tenant-scope.ts'

const pricing = { amountMinor: 100, currency: 'USD', interval: 'month', intervalCount: 1 } as const
const billing = { graceHours: 1, retryHours: [1], firstPaymentHours: 1, proration: 'day', maxAttempts: 1, maxAttemptsDays: 1 } satisfies BillingTerms
const tenant = { _id: 't', tenantId: 't', mode: 'live' } as Tenant

const open = async () => {
  let nowMs = Date.UTC(2024, 0, 1)
  const clock = { now: () => new Date(nowMs++), nowMs: () => nowMs++ }
  const storage = createSqliteStorage({ path: ':memory:', clock })
  const psps = { open: () => ({ unusable: 'none is asked' }) }
  const services = { storage, clock, log: createLog('silent'), psps } as unknown as Services
  await storage.storefronts.insert(
    newStorefront('t', { id: 'shop', name: 'Shop', currency: 'USD', timeZone: 'UTC', routing: { split: [], fallback: [], rules: [] }, billing }, clock.now()),
  )
  const content = (kind: 'flag' | 'capacity') => ({
    name: 'B',
    pricing,
    entitlements: [kind === 'flag' ? { key: 'k', kind, enabled: true } : { key: 'k', kind, limit: 1 }],
    trialDays: 0,
    refundEndsAccess: false,
  })
  const older = (id: string, kind: 'flag' | 'capacity') =>
    storage.bundles.insert({ _id: `t/shop/${id}`, tenantId: 't', createdAt: clock.now(), storefrontId: 'shop', id, version: 1, ...content(kind) })
  const put = (id: string, kind: 'flag' | 'capacity') => replaceBundle(tenantScope(services, tenant), 'shop', id, () => {}, content(kind), 'new')
  const lose = (id: string) => replaceBundle(tenantScope(services, tenant), 'shop', id, () => {}, { ...content('flag'), entitlements: [] }, 'new')
  const post = (id: string, kind: 'flag' | 'capacity') => createBundle(tenantScope(services, tenant), 'shop', id, content(kind))
  return { older, put, post, lose }
}

test('an older bundle gives its keys their kinds when another names them first', async (t) => {
  const { older, post, put } = await open()
  await older('a', 'flag')
  await t.throwsAsync(post('b', 'capacity'), { message: /the bundle a has k with that kind/ })
  await post('b', 'flag')
  await t.throwsAsync(put('a', 'capacity'), { message: /must be flag/ })
})

test('two older bundles that have a key as two kinds keep them, and a new bundle takes the kind of the oldest', async (t) => {
  const { older, post, put } = await open()
  await older('a', 'flag')
  await older('b', 'capacity')
  await t.notThrowsAsync(put('b', 'capacity'))
  await t.throwsAsync(post('c', 'capacity'), { message: /the bundle a has k with that kind/ })
  await t.notThrowsAsync(put('a', 'flag'))
  await t.notThrowsAsync(put('b', 'flag'), 'it may join the others')
  await t.throwsAsync(put('b', 'capacity'), { message: /must be flag/ })
})

test('a key that an older bundle loses keeps its kind', async (t) => {
  const { older, post, lose } = await open()
  await older('a', 'flag')
  await lose('a')
  await t.throwsAsync(post('c', 'capacity'), { message: /must be flag/ })
})
