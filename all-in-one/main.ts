/** `npm start`: control plane and sidecar in one process, with no other server unless the environment names one. */
import { join } from 'node:path'
import { systemClock } from '../common/clock.ts'
import { readConfig } from '../common/config.ts'
import { createLog } from '../common/log.ts'
import { runProcess } from '../common/process.ts'
import { startTracing } from '../common/tracing.ts'
import { openFeed, openStorage, startControlPlane } from '../control-plane/compose.ts'
import { showNewPlatformKey } from '../control-plane/show-platform-key.ts'
import { lockDataDir } from '../control-plane/storage/data-dir-lock.ts'
import { startSidecar } from '../sidecar/compose.ts'

await runProcess(async () => {
  const config = readConfig()
  const clock = systemClock
  const log = createLog(config.LOG_LEVEL)
  await startTracing(config, 'tollgate', log)
  const lock = config.NATS_URL ? undefined : lockDataDir(config.DATA_DIR)
  const storage = await openStorage(config, clock, log)
  const feed = await openFeed(config, clock, log, storage)
  // Nobody else has the folder: the next process finds there what was lent to this one.
  const journal = lock ? { JOURNAL_FILE: config.JOURNAL_FILE ?? join(config.DATA_DIR, 'sidecar.journal') } : {}
  const sidecar = await startSidecar({ config: { ...config, ...journal }, feed, clock, log })
  const controlPlane = await startControlPlane({ config, storage, feed, clock, log, isNeighbourReady: sidecar.isReady })
  showNewPlatformKey(controlPlane.newPlatformKey)
  return {
    ready: `${controlPlane.url} grpc://${sidecar.address}`,
    close: async () => {
      // First nothing new comes in and nothing more is published; then the sidecar, which answers to the last.
      await controlPlane.close()
      await sidecar.close()
      await feed.close()
      await storage.close()
      lock?.release()
    },
  }
})
