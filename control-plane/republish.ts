/**
 * `npm run republish`: puts every stored entitlement set and test clock into the feed. Control planes do so by themselves
 * for a feed that was lost or is new; `npm run restore:finish` is the same after a backup was restored: what the feed
 * has is then taken out first, since it is of a storage that is no more.
 */
import { systemClock } from '../common/clock.ts'
import { ConfigError, readConfig } from '../common/config.ts'
import { createLog } from '../common/log.ts'
import { installationOf } from './catalog/installation.ts'
import { openFeed, openStorage } from './compose.ts'
import { fillFeed } from './entitlements/keep-feed.ts'
import { republish } from './entitlements/republish.ts'

const run = async () => {
  const anew = process.argv.includes('--after-restore')
  const config = readConfig()
  if (!config.NATS_URL) throw new ConfigError('NATS_URL must be set: the in-process feed is never lost, since it reads from storage.')
  const log = createLog(config.LOG_LEVEL)
  const storage = await openStorage(config, systemClock, log)
  const feed = await openFeed(config, systemClock, log, storage)
  const { keeper } = feed
  if (!keeper) throw new ConfigError('NATS_URL must be set')
  const { id, revision } = await installationOf({ storage, clock: systemClock })
  const { storage: theirs } = await keeper.look()
  if (!anew && theirs && theirs.id !== id)
    throw new ConfigError('NATS_BUCKET: the bucket belongs to another installation; if this storage is to take its place, run npm run restore:finish')
  // A claim, so that sidecars believe what is there; where a control plane is filling just now, beside it.
  const filled = await fillFeed({ storage, feed, clock: systemClock, log }, keeper, { anew, mark: { id, count: revision } })
  const { sets, clocks, unpublishable } = filled ?? (await republish(storage, feed, log))
  await feed.close()
  await storage.close()
  process.stdout.write(`republished ${sets} entitlement sets and ${clocks} test clocks\n`)
  if (unpublishable > 0) process.stdout.write(`${unpublishable} entitlement sets cannot be published: the log names their customers\n`)
}

try {
  await run()
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}
