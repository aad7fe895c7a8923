/** Puts a control plane together. The one place that chooses adapters. */

import { randomBytes } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Clock, systemClock } from '../common/clock.ts'
import { type Config, ConfigError, cannotListen, sqliteFileOf } from '../common/config.ts'
import { type DrainableServer, drainable } from '../common/drain-http.ts'
import { HOUR_MS } from '../common/durations.ts'
import type { Feed } from '../common/feed/feed.ts'
import { createInProcessFeed } from '../common/feed/in-process.ts'
import { natsAccessOf } from '../common/feed/nats/credentials.ts'
import { createNatsFeed } from '../common/feed/nats/feed.ts'
import { createSigning } from '../common/feed/signing.ts'
import { tracedFeed } from '../common/feed/traced.ts'
import { createBoundedServer } from '../common/http-limits.ts'
import type { Log } from '../common/log.ts'
import { checkControlPlaneIsSafe } from '../common/safe-defaults.ts'
import { Secret } from '../common/secret.ts'
import { startPspSimulator } from '../psp-simulator/server.ts'
import { generatePlatformKey } from './access/api-keys.ts'
import { createAuditTrail } from './audit/trail.ts'
import { type FeedKeeping, startKeepingFeed } from './entitlements/keep-feed.ts'
import { toEntitlementSet } from './entitlements/publish-entitlements.ts'
import { openEvents } from './events/events.ts'
import { openEventStream } from './events/nats-stream.ts'
import { startEventSender } from './events/sender.ts'
import { createWebhookSender } from './events/webhooks/send.ts'
import { createHttpApp } from './http/app.ts'
import { answerBrokenRequests } from './http/broken-requests.ts'
import { eventRenderers } from './http/event-data.ts'
import { createThrottle } from './http/throttle.ts'
import { illegalTransitions } from './illegal-transitions.ts'
import { keys } from './keys.ts'
import { measureDeliveries } from './observe/delivery-metrics.ts'
import { measuredFeed } from './observe/feed-metrics.ts'
import { createControlPlaneMetrics, measureParts } from './observe/metrics.ts'
import { startMetricsServer } from './observe/metrics-server.ts'
import { measurePayments } from './observe/payment-metrics.ts'
import { createSidecarRegistry, measureSidecars } from './observe/sidecars.ts'
import { measuredStorage } from './observe/storage-metrics.ts'
import { measureWork } from './observe/work-metrics.ts'
import { adyenProvider } from './payments/psp/adyen/adapter.ts'
import { createPspDirectory } from './payments/psp/directory.ts'
import { localProvider } from './payments/psp/local/adapter.ts'
import { mercadopagoProvider } from './payments/psp/mercadopago/adapter.ts'
import { paypalProvider } from './payments/psp/paypal/adapter.ts'
import { createSandboxTime, createSimulatorPsp } from './payments/psp/simulator/adapter.ts'
import { stripeProvider } from './payments/psp/stripe/adapter.ts'
import { webhookPath } from './payments/psp/webhook-path.ts'
import { createCircuitBreakers } from './payments/routing/circuit-breakers.ts'
import { countUnknownOutcomes } from './payments/unknown-outcomes.ts'
import { createOpenId } from './people/open-id.ts'
import type { Services } from './ports.ts'
import { answerQuestion } from './questions.ts'
import { createMongoStorage } from './storage/mongo/storage.ts'
import { createSealing } from './storage/sealing.ts'
import { createSqliteStorage } from './storage/sqlite.ts'
import type { Storage } from './storage/storage.ts'
import { tracedStorage } from './storage/traced.ts'
import { type ClockGuard, startClockGuard } from './worker/clock-guard.ts'
import { startWorker, type Worker } from './worker/worker.ts'

/** The simulator answers in milliseconds, or means not to. */
const SIMULATOR_TIMEOUT_MS = 2_000
/** Moving its clock waits for every webhook that is due by then to be taken. */
const CLOCK_TIMEOUT_MS = 60_000
const WORKER_STOPS_WITHIN_MS = 5_000

/** MongoDB if it is configured; else SQLite in `DATA_DIR`. @throws ConfigError when the SQLite file cannot be opened. */
export const openStorage = async (config: Config, clock: Clock, log: Log): Promise<Storage> =>
  config.MONGODB_URL
    ? tracedStorage(await createMongoStorage({ url: config.MONGODB_URL, clock, log }), 'mongodb')
    : tracedStorage(createSqliteStorage({ path: sqliteFileOf(config), clock }), 'sqlite')

/** NATS where it is configured; else in this process, reading sets from where they are stored anyway. */
export const openFeed = async (config: Config, clock: Clock, log: Log, storage: Storage): Promise<Feed> => {
  if (config.NATS_URL) {
    const { NATS_URL: url, NATS_BUCKET: bucket, NATS_REPLICAS: replicas, NATS_PLACEMENT_CLUSTER: cluster, NATS_PLACEMENT_TAGS: tags } = config
    const placement = cluster === undefined && tags === undefined ? undefined : { cluster, tags }
    if (config.FEED_VERIFY_KEYS && !config.FEED_SIGNING_KEY)
      throw new ConfigError('FEED_SIGNING_KEY must be set if FEED_VERIFY_KEYS is: without it, a control plane would reject what it has published itself')
    const signing = createSigning(bucket, { signing: config.FEED_SIGNING_KEY, verify: config.FEED_VERIFY_KEYS })
    return tracedFeed(await createNatsFeed({ url, access: natsAccessOf(config), bucket, keeps: { replicas, placement }, signing, clock, log }), 'nats')
  }
  const feed = createInProcessFeed({
    clock,
    log,
    lookup: {
      getSet: async ({ tenantId, storefrontId, customerId }) => {
        const stored = await storage.entitlementSets.find(keys.customer(tenantId, storefrontId, customerId))
        return stored && toEntitlementSet(stored)
      },
      getClock: async (tenantId) => {
        const tenant = await storage.tenants.find(keys.tenant(tenantId))
        return tenant?.testNow ? { tenantId, revision: tenant.revision, nowMs: tenant.testNow.getTime() } : undefined
      },
    },
  })
  return tracedFeed(feed, 'in_process')
}

export interface ControlPlane {
  /** The address at which it answers HTTP. */
  url: string
  /** The platform key, if this start made one: to be shown once. */
  newPlatformKey: string | undefined
  close(): Promise<void>
}

export interface ControlPlaneOptions {
  config: Config
  storage: Storage
  feed: Feed
  clock: Clock
  log: Log
  /** The readiness of whatever runs beside it in the same process. */
  isNeighbourReady?: () => boolean
}

/**
 * Starts everything that a control plane runs: HTTP, the worker, the keeper of the feed, and the PSP simulator unless another is
 * configured. Its ports stay the caller's to close.
 * @throws ConfigError for a configuration that is not safe, or an address that is taken.
 */
export const startControlPlane = async (options: ControlPlaneOptions): Promise<ControlPlane> => {
  const { config, clock, log } = options
  checkControlPlaneIsSafe(config, log)
  const metrics = createControlPlaneMetrics()
  const measured = measuredStorage(options.storage, metrics.instruments)
  const { storage, events, outboxes } = openEvents({ storage: measured, clock, log, render: eventRenderers, days: config.EVENT_DAYS })
  const feed = measuredFeed(options.feed, metrics.instruments)
  const webhookSecret = config.SIMULATOR_WEBHOOK_SECRET ?? new Secret(`whsec_${randomBytes(32).toString('base64')}`)
  const ownSimulator = config.SIMULATOR_URL
    ? undefined
    : await startPspSimulator({ host: '127.0.0.1', port: 0, ledgerPath: join(config.DATA_DIR, 'psp-simulator.sqlite'), webhookSecret, clock, log })
  const simulatorUrl = config.SIMULATOR_URL ?? ownSimulator?.url ?? ''
  // Known once the server listens, and needed from the first payment on.
  let url = ''
  const simulatorTimeoutMs = Math.min(config.PSP_TIMEOUT_MS, SIMULATOR_TIMEOUT_MS)
  const sealing = createSealing(config.CREDENTIALS_KEY)
  const circuits = createCircuitBreakers({ failures: config.CIRCUIT_FAILURES, openMs: config.CIRCUIT_OPEN_MS }, clock, log)
  const payments = measurePayments(metrics.instruments, {
    circuits: circuits.states,
    unknownOutcomes: () => countUnknownOutcomes(storage, clock.now()),
    nowMs: clock.nowMs,
  })
  const psps = createPspDirectory({
    providers: {
      stripe: stripeProvider({ clock, baseUrl: config.STRIPE_URL }),
      adyen: adyenProvider({ baseUrl: config.ADYEN_URL }),
      paypal: paypalProvider({ clock, baseUrl: config.PAYPAL_URL }),
      mercadopago: mercadopagoProvider({ clock, baseUrl: config.MERCADOPAGO_URL }),
      local: localProvider({ clock, allowPrivate: config.LOCAL_PSP_PRIVATE_URLS === 'true' }),
    },
    simulator: ({ tenantId, accountId, webhookSecret: own, testNow }) =>
      createSimulatorPsp({
        url: simulatorUrl,
        tenantId,
        accountId,
        webhookUrl: `${config.PUBLIC_URL ?? url}${webhookPath(tenantId, accountId)}`,
        webhookSecret: own ?? webhookSecret,
        timeoutMs: simulatorTimeoutMs,
        testNow,
      }),
    sandbox: createSandboxTime({ url: () => simulatorUrl, timeoutMs: CLOCK_TIMEOUT_MS, log }),
    sealing,
    clock,
    circuitOf: circuits.of,
    returnUrl: () => config.PUBLIC_URL ?? url,
    timeoutMs: config.PSP_TIMEOUT_MS,
    simulatorTimeoutMs,
    simulatorInLive: config.NODE_ENV !== 'production' || config.SIMULATOR_IN_LIVE === 'true',
  })
  const services: Services = {
    storage,
    feed,
    psps: payments.measured(psps),
    sealing,
    sidecars: createSidecarRegistry(clock),
    webhooksInHand: { count: 0 },
    clock,
    log,
    events,
    paymentObserver: payments.observer,
    webhookEventDays: config.WEBHOOK_EVENT_DAYS,
    usageHistoryDays: config.USAGE_HISTORY_DAYS,
  }
  const stream = config.NATS_URL
    ? await openEventStream({ url: config.NATS_URL, access: natsAccessOf(config), replicas: config.NATS_REPLICAS ?? 1, days: config.EVENT_STREAM_DAYS, log })
    : undefined
  const privateWebhooks = config.WEBHOOK_PRIVATE_URLS === 'true'
  const webhooks = createWebhookSender({ clock, allowPrivate: privateWebhooks })
  const sender = startEventSender({ services, webhooks, stream: stream?.publish })
  measureSidecars(metrics.instruments, services.sidecars)
  measureDeliveries(metrics.instruments, sender)
  const newPlatformKey = config.PLATFORM_API_KEY ? undefined : await generatePlatformKey(services)
  let draining: DrainableServer | undefined
  const isReady = async () => {
    if (draining?.isDraining()) return false
    try {
      await Promise.all([storage.ping(), feed.ping()])
      return options.isNeighbourReady?.() ?? true
    } catch {
      return false
    }
  }
  /** They run when the server listens, and are asked only from then on. */
  let worker: Worker | undefined
  let feedKeeping: FeedKeeping | undefined
  let clockGuard: ClockGuard | undefined
  const throttle = createThrottle({
    requestsPerSecond: config.KEY_REQUESTS_PER_SECOND,
    atOnce: config.KEY_CONCURRENCY,
    bytesPerSecond: config.KEY_BYTES_PER_SECOND,
    openRequestsPerSecond: config.OPEN_REQUESTS_PER_SECOND,
    wrongKeysPerMinute: config.WRONG_KEYS_PER_MINUTE,
    log,
  })
  measureParts(metrics.instruments, {
    access: { failures: throttle.failures },
    feed: {
      isComplete: () => feedKeeping?.isComplete() ?? false,
      filled: () => feedKeeping?.filled() ?? 0,
      fillings: () => feedKeeping?.fillings() ?? 0,
      lastBeatMs: () => feedKeeping?.lastBeatMs(),
    },
    clock: { problem: () => clockGuard?.problem(), nowMs: clock.nowMs },
  })
  const app = createHttpApp({
    services,
    platformKeys: config.PLATFORM_API_KEY ?? [],
    isReady,
    metrics,
    throttle,
    trail: createAuditTrail(services, config.AUDIT_LOG_DAYS),
    openId: createOpenId(services, config.OIDC_PRIVATE_URLS === 'true'),
    webhooks: { sender: webhooks, allowPrivate: privateWebhooks },
    publicUrl: () => (config.PUBLIC_URL ?? url).replace(/\/$/, ''),
    trustedProxies: config.TRUSTED_PROXIES,
  })
  const port = config.METRICS_PORT
  const metricsServer = port === undefined ? undefined : await startMetricsServer({ host: config.HOST, port, metrics, log })
  if (metricsServer) log.info({ url: metricsServer.url }, 'control plane: metrics on a port of their own')
  const server = createBoundedServer(app.callback())
  answerBrokenRequests(server)
  draining = drainable(server)
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(cannotListen('HTTP_PORT', config.HTTP_PORT, error)))
    server.listen(config.HTTP_PORT, config.HOST, resolve)
  })
  url = `http://${config.HOST}:${(server.address() as AddressInfo).port}`
  log.info(
    { url, simulator: simulatorUrl, storage: config.MONGODB_URL ? 'mongodb' : 'sqlite', feed: config.NATS_URL ? 'nats' : 'in-process' },
    'control plane started',
  )
  feedKeeping = startKeepingFeed(services)
  // A clock that is given is believed.
  if (clock === systemClock) clockGuard = await startClockGuard({ storage, clock, log, maxJumpMs: config.CLOCK_MAX_JUMP_HOURS * HOUR_MS })
  const mayBill = () => clockGuard?.problem() === undefined
  worker = startWorker(services, { pollMs: config.WORKER_POLL_MS, atOnce: config.WORKER_CONCURRENCY, mayBill })
  measureWork(metrics.instruments, worker, clock)
  const noteIllegal = (transition: unknown) => log.error({ transition }, 'an illegal transition, which is a fault of Tollgate: please report it')
  illegalTransitions.subscribe(noteIllegal)
  const stopAnswering = await feed.answer((question, tenantId) => answerQuestion(services, question, tenantId), services.sidecars.hear)

  return {
    url,
    newPlatformKey,
    close: async () => {
      const drained = draining?.drain()
      stopAnswering()
      illegalTransitions.unsubscribe(noteIllegal)
      clockGuard?.stop()
      // A provider may take its time: what is cut off is finished by whoever comes next, as after a crash.
      await Promise.race([worker?.stop(), sleep(WORKER_STOPS_WITHIN_MS, undefined, { ref: false })])
      await feedKeeping?.stop()
      await Promise.race([outboxes.settled().then(() => sender.stop()), sleep(WORKER_STOPS_WITHIN_MS, undefined, { ref: false })])
      await stream?.close()
      await drained
      await metricsServer?.close()
      await ownSimulator?.close()
    },
  }
}
