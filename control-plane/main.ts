/** `npm run control-plane`: a control plane alone, on the storage and the feed that the environment names. */
import { systemClock } from '../common/clock.ts'
import { ConfigError, readConfig } from '../common/config.ts'
import { createLog } from '../common/log.ts'
import { runProcess } from '../common/process.ts'
import { startTracing } from '../common/tracing.ts'
import { openFeed, openStorage, startControlPlane } from './compose.ts'
import { showNewPlatformKey } from './show-platform-key.ts'
import { shareDataDir } from './storage/data-dir-lock.ts'

await runProcess(async () => {
  const config = readConfig()
  if (!config.NATS_URL)
    throw new ConfigError('NATS_URL must be set: a control plane publishes to NATS. To run without NATS, use npm start, which runs everything in one process.')
  const clock = systemClock
  const log = createLog(config.LOG_LEVEL)
  await startTracing(config, 'tollgate-control-plane', log)
  const share = config.MONGODB_URL ? undefined : shareDataDir(config.DATA_DIR)
  const storage = await openStorage(config, clock, log)
  const feed = await openFeed(config, clock, log, storage)
  const controlPlane = await startControlPlane({ config, storage, feed, clock, log })
  showNewPlatformKey(controlPlane.newPlatformKey)
  return {
    ready: controlPlane.url,
    close: async () => {
      await controlPlane.close()
      await feed.close()
      await storage.close()
      share?.release()
    },
  }
})
