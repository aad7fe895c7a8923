/** Puts a sidecar together. The one place that chooses its parts. */
import type { Clock } from '../common/clock.ts'
import { type Config, ConfigError } from '../common/config.ts'
import { type ExplainQuestion, explanation } from '../common/entitlements/explanation.ts'
import { servesAlways } from '../common/entitlements/staleness-policy.ts'
import type { Feed } from '../common/feed/feed.ts'
import type { Log } from '../common/log.ts'
import { startSidecarHttp } from './http.ts'
import { createDecisionLog, type DecisionLog } from './observe/decision-log.ts'
import { createMetrics } from './observe/metrics.ts'
import { createObserver } from './observe/observer.ts'
import { createCallers } from './policy/callers.ts'
import { heldOf } from './replica/held-of.ts'
import { type Replica, startReplica } from './replica/replica.ts'
import { openSnapshots } from './replica/snapshots.ts'
import { startServer } from './server.ts'
import { createDecisions } from './service/decisions.ts'
import { createDirectChecks } from './service/direct-check.ts'
import { createEntitlementService } from './service/entitlement-service.ts'
import { createFlagdService } from './service/flagd-service.ts'
import { createFlags } from './service/flags.ts'
import { Certificates } from './transport/certificate-files.ts'
import { createFastTransport } from './transport/fast/transport.ts'
import { createGrpcJsTransport } from './transport/grpc-js.ts'

/** How often the health service looks at whether the watch stands. */
const HEALTH_EVERY_MS = 250

export interface Sidecar {
  /** Of gRPC: `host:port`. */
  address: string
  /** `http://host:port`: health, metrics, OFREP; undefined without SIDECAR_HTTP_PORT. */
  httpUrl: string | undefined
  replica: Replica
  isReady(): boolean
  /** Resolves when it is ready for the first time. */
  ready: Promise<void>
  close(): Promise<void>
}

const openCertificates = ({ TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile, TLS_CLIENT_CA_FILE: clientCaFile }: Config, log: Log): Certificates | undefined => {
  if (certFile === undefined && keyFile === undefined && clientCaFile === undefined) return undefined
  if (certFile === undefined || keyFile === undefined) throw new ConfigError('TLS_CERT_FILE and TLS_KEY_FILE have to be set together')
  return new Certificates({ certFile, keyFile, clientCaFile }, log)
}

const openDecisionLog = ({ DECISION_LOG: to, DECISION_LOG_SHARE: share }: Config, log: Log, replica: Replica): DecisionLog | undefined =>
  to === undefined ? undefined : createDecisionLog({ to, share, log, heldBy: ({ check }) => heldOf(replica, check) })

export const startSidecar = async (options: { config: Config; feed: Feed; clock: Clock; log: Log }): Promise<Sidecar> => {
  const { config, feed, clock, log } = options
  const nowMs = () => clock.nowMs()
  const certificates = openCertificates(config, log)
  const metrics = createMetrics()
  const replica = await startReplica({ feed, clock, maxBytes: config.CACHE_MAX_BYTES })
  const snapshots = await openSnapshots({ config, replica, clock, log })
  const decisionLog = openDecisionLog(config, log, replica)
  const observer = createObserver({ log, metrics, denialsShare: config.DENIALS_SHARE, decisions: decisionLog })
  const callers = createCallers(config.SIDECAR_KEYS ?? {})
  const shared = { replica, clock, maxStalenessMs: config.MAX_STALENESS_MS, callers, observer }
  const decisions = createDecisions({ ...shared, policy: config.STALENESS_POLICY ?? servesAlways })
  const flags = createFlags(decisions, { tenantId: config.FLAG_TENANT, storefrontId: config.FLAG_STOREFRONT })
  const explain = async (question: ExplainQuestion, timeoutMs: number) => explanation.parse(JSON.parse(await feed.ask(JSON.stringify(question), timeoutMs)))
  const transport =
    config.SIDECAR_TRANSPORT === 'fast' ? createFastTransport({ nowMs, certificates, onAnswered: metrics.observe }) : createGrpcJsTransport({ certificates })
  const server = await startServer({
    transport,
    host: config.HOST,
    port: config.GRPC_PORT,
    socketPath: config.GRPC_SOCKET,
    service: createEntitlementService({ decisions, explain, replica, clock, log }),
    flagd: createFlagdService({ flags, callers, replica, clock, log }),
    direct: createDirectChecks(shared),
  })
  // Ready once the watch stands or a snapshot was taken, and from then on: without the feed it still answers, and says how old that is.
  let isReady = snapshots.restored > 0
  let tellReady = () => {}
  const ready = new Promise<void>((resolve) => {
    tellReady = resolve
  })
  const look = () => {
    isReady ||= replica.isLive()
    if (isReady) tellReady()
    const tooOld = config.STALE_HEALTH === 'not_serving' && clock.nowMs() - replica.currentAsOfMs() > config.MAX_STALENESS_MS
    server.setServing(isReady && !tooOld)
  }
  look()
  const timer = setInterval(look, HEALTH_EVERY_MS)
  timer.unref()
  metrics.watch(
    {
      cache: () => replica.cache.stats,
      lookups: replica.lookups,
      asOfMs: replica.currentAsOfMs,
      isLive: replica.isLive,
      isReady: () => isReady,
      reconnects: replica.reconnects,
      connections: () => transport.connectionCount(),
    },
    nowMs,
  )
  const port = config.SIDECAR_HTTP_PORT
  const http = port === undefined ? undefined : await startSidecarHttp({ host: config.HOST, port, flags, metrics, isReady: () => isReady, nowMs, log })
  if (http) log.info({ url: http.url }, 'sidecar: health, metrics and OFREP over HTTP')
  return {
    address: server.address,
    httpUrl: http?.url,
    replica,
    isReady: () => isReady,
    ready,
    close: async () => {
      clearInterval(timer)
      await server.close()
      await http?.close()
      await snapshots.close()
      await replica.close()
      await decisionLog?.close()
      certificates?.stop()
    },
  }
}
