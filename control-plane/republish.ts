/**
 * `npm run republish`: puts every stored entitlement set and test clock into the feed. Control planes do so by themselves
 * for a feed that was lost or is new; `npm run restore:finish` is the same after a backup was restored: what the feed
 * has is then taken out first, since it is of a storage that is no more.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { systemClock } from '../common/clock.ts'
import { ConfigError, readConfig } from '../common/config.ts'
import { createLog } from '../common/log.ts'
import { runCommand } from '../common/process.ts'
import { installationOf, markOf } from './catalog/installation.ts'
import { openFeed, openStorage } from './compose.ts'
import { fillFeed } from './entitlements/keep-feed.ts'
import { republish } from './entitlements/republish.ts'

const CLAIM_AGAIN_MS = 2_000
const MAX_CLAIMS = 30

const run = async () => {
  const afterRestore = process.argv.includes('--after-restore')
  const config = readConfig()
  if (!config.NATS_URL) throw new ConfigError('NATS_URL must be set: the in-process feed reads from storage, so it never needs to be filled.')
  const log = createLog(config.LOG_LEVEL)
  await using opened = new AsyncDisposableStack()
  const storage = await openStorage(config, systemClock, log)
  opened.defer(storage.close)
  const feed = await openFeed(config, systemClock, log, storage)
  opened.defer(feed.close)
  const { keeper } = feed
  if (!keeper) throw new ConfigError('NATS_URL must be set')
  const mark = markOf(await installationOf({ storage, clock: systemClock }))
  const { storage: theirs } = await keeper.look()
  if (!afterRestore && theirs && theirs.id !== mark.id)
    throw new ConfigError('NATS_BUCKET: the bucket belongs to another installation; if this storage is to take its place, run npm run restore:finish')
  // Storage has gone back: beside what the feed has, nothing of it would count.
  const anew = afterRestore || (theirs !== undefined && theirs.count > mark.count)
  const parts = { storage, feed, clock: systemClock, log }
  // A claim, so that sidecars believe what is there; where a control plane is filling just now, beside it, unless it is to be anew.
  let filled = await fillFeed(parts, keeper, { anew, mark })
  for (let tries = 0; anew && !filled && tries < MAX_CLAIMS; tries += 1) {
    await sleep(CLAIM_AGAIN_MS)
    filled = await fillFeed(parts, keeper, { anew, mark })
  }
  if (anew && !filled) throw new Error('another process has been filling the feed for a minute; try again when its log says that it is done')
  const { sets, clocks, unpublishable } = filled ?? (await republish(storage, feed, log))
  process.stdout.write(`republished ${sets} entitlement sets and ${clocks} test clocks\n`)
  if (unpublishable > 0) process.stdout.write(`${unpublishable} entitlement sets cannot be published: the log names their customers\n`)
}

await runCommand(run)
