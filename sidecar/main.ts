/** `npm run sidecar`: a sidecar alone, fed by NATS. */
import { systemClock } from '../common/clock.ts'
import { ConfigError, readConfig } from '../common/config.ts'
import { createLateFeed } from '../common/feed/late.ts'
import { natsAccessOf } from '../common/feed/nats/credentials.ts'
import { createNatsFeed } from '../common/feed/nats/feed.ts'
import { createSigning } from '../common/feed/signing.ts'
import { tracedFeed } from '../common/feed/traced.ts'
import { createLog } from '../common/log.ts'
import { runProcess } from '../common/process.ts'
import { startTracing } from '../common/tracing.ts'
import { startSidecar } from './compose.ts'

await runProcess(async () => {
  const config = readConfig()
  if (!config.NATS_URL)
    throw new ConfigError('NATS_URL must be set: a sidecar gets its data from NATS. To run without NATS, use npm start, which runs everything in one process.')
  const log = createLog(config.LOG_LEVEL)
  await startTracing(config, 'tollgate-sidecar', log)
  const { NATS_URL: url, NATS_BUCKET: bucket, SIDECAR_TENANTS: tenants } = config
  const access = natsAccessOf(config)
  // With a snapshot it can answer before there is a feed; without one it waits.
  const signing = createSigning(bucket, { verify: config.FEED_VERIFY_KEYS })
  const feed = createLateFeed({
    open: async () => tracedFeed(await createNatsFeed({ url, access, bucket, tenants, signing, clock: systemClock, log }), 'nats'),
    log,
  })
  const sidecar = await startSidecar({ config, feed, clock: systemClock, log })
  await sidecar.ready
  return {
    ready: [`grpc://${sidecar.address}`, sidecar.httpUrl].filter(Boolean).join(' '),
    close: async () => {
      await sidecar.close()
      await feed.close()
    },
  }
})
