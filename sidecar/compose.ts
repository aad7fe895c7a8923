/** Puts a sidecar together. The one place that chooses its parts. */
import { existsSync } from 'node:fs'
import { hostname } from 'node:os'
import { dirname } from 'node:path'
import type { Clock } from '../common/clock.ts'
import { type Config, ConfigError } from '../common/config.ts'
import { allowsAny } from '../common/entitlements/away-policy.ts'
import { type ExplainQuestion, explanation } from '../common/entitlements/explanation.ts'
import type { CustomerKey } from '../common/entitlements/model.ts'
import { decodeUsage } from '../common/entitlements/wire.ts'
import { createFaults } from '../common/faults.ts'
import type { Feed } from '../common/feed/feed.ts'
import type { Log } from '../common/log.ts'
import { readHolderAnswer, writeHolderQuestion } from '../common/metering/holder-wire.ts'
import type { HolderQuestion } from '../common/metering/holder-words.ts'
import { type AskedLedger, readLedgerAnswer, writeLedgerQuestion, writeUsageQuestion } from '../common/metering/ledger-wire.ts'
import { checkSidecarIsSafe } from '../common/safe-defaults.ts'
import { MAX_NAMED_TENANTS, type SidecarStatus } from '../common/sidecar-status.ts'
import { ownVersion } from '../common/version.ts'
import { startSidecarHttp } from './http.ts'
import { openJournalOf } from './metering/journal.ts'
import { createMeters } from './metering/meters.ts'
import { startAnnouncing } from './observe/announce.ts'
import { createDecisionLog, type DecisionLog } from './observe/decision-log.ts'
import { createSidecarMetrics } from './observe/metrics.ts'
import { createObserver } from './observe/observer.ts'
import { watchReadiness } from './readiness.ts'
import { basisOf } from './replica/decision-basis.ts'
import { startReplica, type WritingReplica } from './replica/replica.ts'
import { openSnapshots } from './replica/snapshots.ts'
import { createConsuming } from './service/consuming.ts'
import type { Decisions } from './service/decisions.ts'
import { createServing } from './serving.ts'
import { startWorkers } from './workers/pool.ts'

const toJson = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value))
const fromJson = (bytes: Uint8Array): unknown => JSON.parse(Buffer.from(bytes).toString())

export interface Sidecar {
  /** The address of gRPC: `host:port`. */
  address: string
  /** `http://host:port`: health, metrics, OFREP; undefined without SIDECAR_HTTP_PORT. */
  httpUrl: string | undefined
  replica: WritingReplica
  isReady(): boolean
  /** Resolves when it is ready for the first time. */
  ready: Promise<void>
  close(): Promise<void>
}

const openDecisionLog = ({ DECISION_LOG: to, DECISION_LOG_SHARE: share }: Config, log: Log, replica: WritingReplica): DecisionLog | undefined => {
  if (to === undefined) return undefined
  if (to !== 'stdout' && !existsSync(dirname(to))) throw new ConfigError(`DECISION_LOG: there is no folder ${dirname(to)}`)
  return createDecisionLog({ to, share, log, basisOf: (check) => basisOf(replica, check) })
}

/** Serves from the moment it resolves; the feed stays the caller's to close. @throws ConfigError for a configuration that is not safe, or an address that is taken. */
export const startSidecar = async (options: { config: Config; feed: Feed; clock: Clock; log: Log }): Promise<Sidecar> => {
  const { config, feed, clock, log } = options
  checkSidecarIsSafe(config)
  const threads = config.SIDECAR_WORKERS
  if (threads > 1 && config.SIDECAR_TRANSPORT !== 'fast') throw new ConfigError('SIDECAR_WORKERS: only SIDECAR_TRANSPORT=fast supports more than one')
  const metrics = createSidecarMetrics()
  const faults = createFaults(log, clock)
  const askUsage = async (customer: CustomerKey, timeoutMs: number) => decodeUsage(await feed.ask(customer.tenantId, writeUsageQuestion(customer), timeoutMs))
  const replica = await startReplica({
    feed,
    clock,
    maxBytes: config.CACHE_MAX_BYTES,
    faults,
    askUsage,
    onRecall: (customer, keys) => meters.recall(customer, keys),
  })
  const snapshots = await openSnapshots({ config, replica, clock, log, faults })
  const decisionLog = openDecisionLog(config, log, replica)
  const observer = createObserver({ log, metrics, denialsShare: config.DENIALS_SHARE, decisions: decisionLog })
  const explain = async (question: ExplainQuestion, timeoutMs: number) =>
    explanation.parse(fromJson(await feed.ask(question.tenantId, toJson(question), timeoutMs)))
  const askLedger = async (asked: AskedLedger, timeoutMs: number) =>
    readLedgerAnswer(await feed.ask(asked.customer.tenantId, writeLedgerQuestion(asked), timeoutMs))
  const where = { port: config.GRPC_PORT, socketPath: config.GRPC_SOCKET, sharePort: threads > 1 }
  const askHolder = async (question: HolderQuestion, timeoutMs: number) =>
    readHolderAnswer(await feed.ask(question.customer.tenantId, writeHolderQuestion(question), Math.max(1, timeoutMs)))
  const awayPolicy = config.AWAY_POLICY ?? { entitlements: {} }
  const journal = openJournalOf(config, log)
  if (allowsAny(awayPolicy) && !journal.isKept)
    log.warn('AWAY_POLICY allows uses that no ledger knows of yet, and there is no JOURNAL_FILE: a crash would forget them')
  const meters = createMeters({ ask: askLedger, clock, faults, journal, tellsChanges: threads > 1 })
  const consumingOf = (decisions: Decisions) => createConsuming({ decisions, meters, askHolder, policy: awayPolicy, clock })
  const serving = await createServing({
    config,
    replica,
    clock,
    log,
    faults,
    observer,
    onAnswered: metrics.observe,
    onJudged: metrics.countJudged,
    explain,
    readings: meters,
    units: meters,
    consumingOf,
    where,
  })
  const port = Number(serving.address.split(':').at(-1))
  const workers =
    threads > 1
      ? await startWorkers({
          count: threads - 1,
          config,
          port,
          replica,
          metrics,
          explain,
          consuming: serving.consuming,
          changedReadings: meters.changed,
          onDecision: (event) => decisionLog?.write(event),
          log,
          faults,
        })
      : undefined
  const { isReady, ready, asOfMs, stop } = watchReadiness({
    feed: replica,
    snapshot: snapshots,
    clock,
    maxAgeMs: config.STALE_HEALTH === 'not_serving' ? config.MAX_STALENESS_MS : undefined,
    onServing: (isServing) => {
      serving.setServing(isServing)
      workers?.setServing(isServing)
    },
  })
  const faultCount = () => faults.count() + (workers?.faultCount() ?? 0)
  const connections = () => [serving.connectionCount(), ...(workers?.connectionCounts() ?? [])]
  metrics.watch(
    {
      cache: () => replica.cache.stats,
      lookups: replica.lookups,
      asOfMs,
      isLive: replica.isLive,
      isDoubtful: replica.isDoubtful,
      isReady,
      reconnects: replica.reconnects,
      waiting: replica.waiting,
      behind: replica.missing,
      meters: meters.stats,
      faults: faultCount,
      connections,
    },
    () => clock.nowMs(),
  )
  const startedAt = clock.now().toISOString()
  const { SIDECAR_TENANTS: tenants } = config
  const status = (): SidecarStatus => {
    const { sets, usedBytes, maxBytes, evictions } = replica.cache.stats
    const { size, questions, unanswered } = meters.stats()
    return {
      id: journal.sidecar,
      version: ownVersion(),
      startedAt,
      host: hostname(),
      transport: config.SIDECAR_TRANSPORT,
      threads,
      ...(tenants ? { tenants: tenants.slice(0, MAX_NAMED_TENANTS), tenantCount: tenants.length } : {}),
      ready: isReady(),
      feed: {
        live: replica.isLive(),
        complete: !replica.isDoubtful(),
        ...(asOfMs() > 0 ? { asOf: new Date(asOfMs()).toISOString() } : {}),
        reconnects: replica.reconnects(),
      },
      sets: { held: sets, behind: replica.missing(), bytes: usedBytes, maxBytes, evictions },
      lookups: replica.lookups(),
      quotas: { counted: size, questions, unanswered },
      connections: connections().reduce((sum, one) => sum + one, 0),
      faults: faultCount(),
    }
  }
  const stopAnnouncing = startAnnouncing({ feed, tenants, status, faults })
  const httpPort = config.SIDECAR_HTTP_PORT
  const { flags, forwardAuth } = serving
  const http =
    httpPort === undefined
      ? undefined
      : await startSidecarHttp({ host: config.HOST, port: httpPort, flags, forwardAuth, metrics, isReady, nowMs: () => clock.nowMs(), faults })
  if (http) log.info({ url: http.url }, 'sidecar: health, metrics and OFREP over HTTP')
  return {
    address: serving.address,
    httpUrl: http?.url,
    replica,
    isReady,
    ready,
    close: async () => {
      stop()
      await Promise.all([serving.close(), workers?.close(), stopAnnouncing()])
      await meters.close()
      await http?.close()
      await snapshots.close()
      await replica.close()
      await decisionLog?.close()
    },
  }
}
