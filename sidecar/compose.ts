/** Puts a sidecar together. The one place that chooses its parts. */
import type { Clock } from '../common/clock.ts'
import type { Config } from '../common/config.ts'
import type { Feed } from '../common/feed/feed.ts'
import type { Log } from '../common/log.ts'
import { createEntitlementService } from './entitlement-service.ts'
import { startReplica } from './replica.ts'
import { startServer } from './server.ts'
import { createFastTransport } from './transport/fast/transport.ts'
import { createGrpcJsTransport } from './transport/grpc-js.ts'

/** How often the health service looks at whether the watch stands. */
const HEALTH_EVERY_MS = 250

export interface Sidecar {
  address: string
  isReady(): boolean
  close(): Promise<void>
}

export const startSidecar = async (options: { config: Config; feed: Feed; clock: Clock; log: Log }): Promise<Sidecar> => {
  const { config, feed, clock, log } = options
  const replica = await startReplica({ feed, clock, maxCustomers: config.CACHE_MAX_CUSTOMERS })
  const service = createEntitlementService({ replica, clock, maxStalenessMs: config.MAX_STALENESS_MS, log })
  const transport = config.SIDECAR_TRANSPORT === 'fast' ? createFastTransport(() => clock.nowMs()) : createGrpcJsTransport()
  const server = await startServer({ transport, host: config.HOST, port: config.GRPC_PORT, service })
  // Ready once the watch stands, and from then on: without the feed a sidecar still answers, and says how old that is.
  let ready = false
  const look = () => {
    if (ready || !replica.isLive()) return
    ready = true
    server.setServing(true)
  }
  look()
  const timer = setInterval(look, HEALTH_EVERY_MS)
  timer.unref()
  return {
    address: server.address,
    isReady: () => ready,
    close: async () => {
      clearInterval(timer)
      await server.close()
      await replica.close()
    },
  }
}
