/** The calls on a port: what the main thread of a sidecar does, and each of its workers. */
import { status as Status } from '@grpc/grpc-js'
import type { Middleware } from 'koa'
import type { Clock } from '../common/clock.ts'
import { type Config, ConfigError } from '../common/config.ts'
import type { ExplainQuestion, Explanation } from '../common/entitlements/explanation.ts'
import { servesAlways } from '../common/entitlements/staleness-policy.ts'
import type { Faults } from '../common/faults.ts'
import type { Log } from '../common/log.ts'
import type { ExtAuthzOptions } from './ext-authz/ext-authz.ts'
import type { HeldUnits, Readings } from './metering/meters.ts'
import type { Observer } from './observe/observer.ts'
import { createCallers } from './policy/callers.ts'
import type { Replica } from './replica/replica.ts'
import { type AddedService, type SidecarServer, startServer } from './server.ts'
import type { Consuming } from './service/consuming.ts'
import { createDecisions, type Decisions } from './service/decisions.ts'
import { createDirectChecks } from './service/direct-check.ts'
import { createEntitlementService } from './service/entitlement-service.ts'
import { createFlagdService } from './service/flagd-service.ts'
import { createFlags, type Flags } from './service/flags.ts'
import { toServiceError } from './service/service-error.ts'
import { Certificates } from './transport/certificate-files.ts'
import { createFastTransport } from './transport/fast/transport.ts'
import { createGrpcJsTransport } from './transport/grpc-js.ts'
import { tracedTransport } from './transport/traced.ts'
import type { TransportOptions } from './transport/transport.ts'

export interface ServingOptions {
  config: Config
  replica: Replica
  clock: Clock
  log: Log
  faults: Faults
  observer: Observer
  onAnswered: NonNullable<TransportOptions['onAnswered']>
  onJudged: ExtAuthzOptions['onJudged']
  /** @throws AppError `unavailable`. */
  explain(question: ExplainQuestion, timeoutMs: number): Promise<Explanation>
  readings: Readings
  /** Absent where another thread counts. */
  units?: HeldUnits
  consumingOf(decisions: Decisions): Consuming
  where: { port: number; socketPath: string | undefined; sharePort: boolean }
}

export interface Serving extends SidecarServer {
  flags: Flags
  consuming: Consuming
  /** Judges requests of gateways over HTTP; undefined without EXT_AUTHZ_RULES_FILE. */
  forwardAuth: Middleware | undefined
  connectionCount(): number
}

const openCertificates = ({ TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile, TLS_CLIENT_CA_FILE: clientCaFile }: Config, log: Log): Certificates | undefined => {
  if (certFile === undefined && keyFile === undefined && clientCaFile === undefined) return undefined
  if (certFile === undefined && keyFile === undefined) throw new ConfigError('TLS_CLIENT_CA_FILE needs TLS_CERT_FILE and TLS_KEY_FILE: set all three')
  if (certFile === undefined || keyFile === undefined) throw new ConfigError('TLS_CERT_FILE and TLS_KEY_FILE must be set together')
  return new Certificates({ certFile, keyFile, clientCaFile }, log)
}

/** What gateways ask. Loaded only where it is configured: the reader of YAML takes memory, and most sidecars have no gateway. */
const openExtAuthz = async (path: string, log: Log, options: Omit<ExtAuthzOptions, 'rules'>) => {
  const [{ openRuleFile }, { createExtAuthz }, { createEnvoyService, envoyAuthorization }, { createForwardAuth }] = await Promise.all([
    import('./ext-authz/rule-file.ts'),
    import('./ext-authz/ext-authz.ts'),
    import('./ext-authz/envoy-service.ts'),
    import('./ext-authz/forward-auth.ts'),
  ])
  const file = openRuleFile(path, log)
  const extAuthz = createExtAuthz({ ...options, rules: file.current })
  const { clock, faults } = options
  return {
    service: { definition: envoyAuthorization, handlers: createEnvoyService({ extAuthz, clock, faults }) } satisfies AddedService,
    forwardAuth: createForwardAuth(extAuthz, () => clock.nowMs()),
    stop: file.stop,
  }
}

/** @throws ConfigError when it cannot be served as configured. */
export const createServing = async (options: ServingOptions): Promise<Serving> => {
  const { config, replica, clock, log, faults, observer, onAnswered, onJudged, explain, readings, units, consumingOf, where } = options
  const certificates = openCertificates(config, log)
  const callers = createCallers(config.SIDECAR_KEYS)
  const shared = { replica, clock, maxStalenessMs: config.MAX_STALENESS_MS, callers, observer }
  const decisions = createDecisions({ ...shared, meters: readings, policy: config.STALENESS_POLICY ?? servesAlways })
  const consuming = consumingOf(decisions)
  const flags = createFlags(decisions, { tenantId: config.FLAG_TENANT, storefrontId: config.FLAG_STOREFRONT })
  const rulesFile = config.EXT_AUTHZ_RULES_FILE
  const extAuthz = rulesFile === undefined ? undefined : await openExtAuthz(rulesFile, log, { decisions, consuming, callers, clock, faults, onJudged })
  /** Health and reflection are for everybody. */
  const refused = (path: string, authorization: string | undefined) => {
    if (path.startsWith('/grpc.')) return undefined
    try {
      callers.checkKnown(authorization)
      return undefined
    } catch (error) {
      const { code, details } = toServiceError(error, faults)
      return { code: code ?? Status.UNKNOWN, details: details ?? '' }
    }
  }
  const transport =
    config.SIDECAR_TRANSPORT === 'fast'
      ? createFastTransport({ nowMs: () => clock.nowMs(), certificates, onAnswered, onFault: faults.tell, refused, sharePort: where.sharePort })
      : createGrpcJsTransport({ certificates, onAnswered })
  const server = await startServer({
    transport: tracedTransport(transport),
    host: config.HOST,
    port: where.port,
    socketPath: where.socketPath,
    service: createEntitlementService({
      decisions,
      consuming,
      explain,
      replica,
      maxStalenessMs: config.MAX_STALENESS_MS,
      clock,
      faults,
    }),
    flagd: createFlagdService({ flags, callers, replica, clock, faults }),
    direct: createDirectChecks({ ...shared, meters: readings, ...(units ? { units } : {}) }),
    more: extAuthz ? [extAuthz.service] : [],
    reflection: config.GRPC_REFLECTION === 'true',
  })
  return {
    ...server,
    flags,
    consuming,
    forwardAuth: extAuthz?.forwardAuth,
    connectionCount: () => transport.connectionCount(),
    close: async () => {
      await server.close()
      certificates?.stop()
      extAuthz?.stop()
    },
  }
}
