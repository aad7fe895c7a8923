/** `npm run sidecar`: a sidecar alone, fed by NATS. */
import { systemClock } from '../common/clock.ts'
import { ConfigError, readConfig } from '../common/config.ts'
import { createNatsFeed } from '../common/feed/nats.ts'
import { createLog } from '../common/log.ts'
import { runProcess } from '../common/process.ts'
import { startSidecar } from './compose.ts'

await runProcess(async () => {
  const config = readConfig()
  if (!config.NATS_URL) throw new ConfigError('NATS_URL must be set: a sidecar alone is fed by NATS. Without it, npm start runs everything in one process.')
  const log = createLog(config.LOG_LEVEL)
  const feed = await createNatsFeed({ url: config.NATS_URL, bucket: config.NATS_BUCKET, clock: systemClock, log })
  const sidecar = await startSidecar({ config, feed, clock: systemClock, log })
  return {
    ready: `grpc://${sidecar.address}`,
    close: async () => {
      await sidecar.close()
      await feed.close()
    },
  }
})
