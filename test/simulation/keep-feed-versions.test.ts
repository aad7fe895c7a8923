/** A control plane of an older version meets a set of a newer one while it fills the feed. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { systemClock as clock } from '../../common/clock.ts'
import type { FeedKeeper } from '../../common/feed/feed.ts'
import { createInProcessFeed } from '../../common/feed/in-process.ts'
import { createLog } from '../../common/log.ts'
import { startKeepingFeed } from '../../control-plane/entitlements/keep-feed.ts'
import { createSqliteStorage } from '../../control-plane/storage/sqlite.ts'

test('an older control plane does not claim the filling again before a newer one could', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'tollgate-'))
  const path = join(folder, 'store.sqlite')
  const newer = createSqliteStorage({ path, clock, migrations: [{ collection: 'entitlementSets', to: 2, title: 'another form', migrate: (old) => old }] })
  const older = createSqliteStorage({ path, clock })
  t.teardown(async () => {
    await Promise.all([newer.close(), older.close()])
    await rm(folder, { recursive: true })
  })
  const set = { _id: 't/shop/c', tenantId: 't', storefrontId: 'shop', customerId: 'c', sandbox: false, grants: [], usage: [], createdAt: clock.now() }
  await newer.entitlementSets.insert(set)
  let claims = 0
  const keeper: FeedKeeper = {
    look: async () => ({ isComplete: false, epoch: 'e', storage: undefined, sequence: 0 }),
    beat: async () => 1,
    remake: async () => undefined,
    claim: async () => {
      claims += 1
      return { epoch: 'e', renew: async () => undefined, complete: async () => t.fail('a feed without that set is not complete') }
    },
  }
  const feed = { ...createInProcessFeed({ clock }), keeper }
  const keeping = startKeepingFeed({ storage: older, feed, clock, log: createLog('silent') })
  await sleep(3_500)
  await keeping.stop()
  t.is(claims, 1)
})
