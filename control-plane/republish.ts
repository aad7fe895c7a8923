/** `npm run republish`: puts every stored entitlement set and test clock into the feed, for one that was lost or is new. */
import { systemClock } from '../common/clock.ts'
import { ConfigError, readConfig } from '../common/config.ts'
import { createLog } from '../common/log.ts'
import { openFeed, openStorage } from './compose.ts'
import { republish } from './entitlements/republish.ts'

const run = async () => {
  const config = readConfig()
  if (!config.NATS_URL) throw new ConfigError('NATS_URL must be set: the in-process feed is never lost, since it reads from storage.')
  const log = createLog(config.LOG_LEVEL)
  const storage = await openStorage(config, systemClock, log)
  const feed = await openFeed(config, systemClock, log, storage)
  const { sets, clocks, unpublishable } = await republish(storage, feed, log)
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
