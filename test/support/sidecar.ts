/** A sidecar in the test's own process, on a feed that the test fills. */
import { credentials, Metadata, type ServiceError } from '@grpc/grpc-js'
import test from 'ava'
import { systemClock } from '../../common/clock.ts'
import { readConfig } from '../../common/config.ts'
import type { EntitlementSet } from '../../common/entitlements/model.ts'
import { AppError } from '../../common/errors.ts'
import type { Feed } from '../../common/feed/feed.ts'
import { createInProcessFeed } from '../../common/feed/in-process.ts'
import { createLog, type Log } from '../../common/log.ts'
import { type CheckEntitlementRequest, type CheckEntitlementResponse, EntitlementServiceClient } from '../../proto/gen/entitlement/v1/entitlement.ts'
import { type Sidecar, startSidecar } from '../../sidecar/compose.ts'

/** A clock that a test may put ahead. */
export const movableClock = () => {
  let aheadMs = 0
  const advance = (ms: number) => {
    aheadMs += ms
  }
  return { nowMs: () => systemClock.nowMs() + aheadMs, now: () => new Date(systemClock.nowMs() + aheadMs), advance }
}

/** A feed that can be taken away, and comes back as NATS does: nothing of what was stored meanwhile is missed. */
export const losableFeed = (clock: { nowMs(): number; now(): Date }) => {
  const inner = createInProcessFeed({ clock })
  let lostAtMs: number | undefined
  const missed: (() => void)[] = []
  const feed: Feed = {
    ...inner,
    getSet: async (customer) => {
      await ensure()
      return inner.getSet(customer)
    },
    getClock: async (tenantId) => {
      await ensure()
      return inner.getClock(tenantId)
    },
    watch: async (listener) => {
      const later = (act: () => void) => (lostAtMs === undefined ? act() : void missed.push(act))
      const watch = await inner.watch({
        onSet: (set) => later(() => listener.onSet(set)),
        onMissing: (missing) => later(() => listener.onMissing(missing)),
        onClock: (testClock) => later(() => listener.onClock(testClock)),
        onReset: () => later(() => listener.onReset()),
      })
      return { ...watch, isLive: () => lostAtMs === undefined && watch.isLive(), currentAsOfMs: () => lostAtMs ?? watch.currentAsOfMs() }
    },
  }
  const ensure = async () => {
    if (lostAtMs !== undefined) throw new AppError('unavailable', 'the feed cannot be reached')
  }
  return {
    feed,
    lose: () => {
      lostAtMs = clock.nowMs()
    },
    find: () => {
      lostAtMs = undefined
      for (const act of missed.splice(0)) act()
    },
  }
}

export const setOf = (customerId: string, revision = 1, more: Partial<EntitlementSet> = {}): EntitlementSet => ({
  tenantId: 'acme',
  storefrontId: 'us',
  customerId,
  revision,
  sandbox: false,
  grants: [
    { key: 'sso', subscriptionId: 'sub', bundleId: 'pro', fromMs: 0, inactive: false, terms: { kind: 'flag', enabled: true } },
    { key: 'seats', subscriptionId: 'sub', bundleId: 'pro', fromMs: 0, inactive: false, terms: { kind: 'capacity', limit: 5 } },
    { key: 'hours', subscriptionId: 'sub', bundleId: 'pro', fromMs: 0, inactive: false, terms: { kind: 'value', value: '24/7' } },
    {
      key: 'calls',
      subscriptionId: 'sub',
      bundleId: 'pro',
      fromMs: 0,
      inactive: false,
      terms: { kind: 'quota', limit: 1000, per: 'month', anchorMs: 0, timeZone: 'UTC' },
    },
  ],
  usage: [{ key: 'calls', used: 7, untilMs: 32_503_680_000_000 }],
  ...more,
})

export interface TestSidecar extends Sidecar {
  client: EntitlementServiceClient
  check(
    customerId: string,
    entitlement: string,
    settings?: { key?: string; tenant?: string; minRevision?: bigint; deadlineMs?: number; amount?: bigint },
  ): Promise<CheckEntitlementResponse>
}

export const checker =
  (client: EntitlementServiceClient): TestSidecar['check'] =>
  (customerId, entitlement, { key, tenant = 'acme', minRevision = 0n, deadlineMs = 3_000, amount = 0n } = {}) => {
    const metadata = new Metadata()
    if (key !== undefined) metadata.set('authorization', `Bearer ${key}`)
    const request: CheckEntitlementRequest = { tenantId: tenant, storefrontId: 'us', customerId, entitlement, amount, minRevision }
    return new Promise((resolve, reject) => {
      client.checkEntitlement(request, metadata, { deadline: Date.now() + deadlineMs }, (error: ServiceError | null, answer) =>
        error ? reject(error) : resolve(answer),
      )
    })
  }

/** Of a test that fails, too: a process that still serves does not end. */
const open = new Set<TestSidecar>()
test.after.always(async () => {
  for (const sidecar of open) await sidecar.close()
})

export const openSidecar = async (
  env: Record<string, string> = {},
  parts: { feed?: Feed; clock?: { nowMs(): number; now(): Date }; log?: Log } = {},
): Promise<TestSidecar> => {
  const clock = parts.clock ?? systemClock
  const feed = parts.feed ?? createInProcessFeed({ clock })
  const config = readConfig({ GRPC_PORT: '0', SIDECAR_HTTP_PORT: '0', SIDECAR_TRANSPORT: 'fast', ...env })
  const sidecar = await startSidecar({ config, feed, clock, log: parts.log ?? createLog('silent') })
  const client = new EntitlementServiceClient(sidecar.address, credentials.createInsecure())
  const opened: TestSidecar = {
    ...sidecar,
    client,
    check: checker(client),
    close: async () => {
      open.delete(opened)
      client.close()
      await sidecar.close()
    },
  }
  open.add(opened)
  return opened
}
