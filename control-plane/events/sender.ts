/**
 * Sends the events of tenants out. For each tenant that has something to send, one process does it, under a lease in the head of
 * the tenant's log, and gives the lease back when everything has arrived. A process that dies loses the lease by time, and the
 * sweeper of another takes over from the stored cursors: an event may then be sent twice, and none is left out.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { DAY_MS } from '../../common/durations.ts'
import { isAppError } from '../../common/errors.ts'
import { keys } from '../keys.ts'
import type { Services } from '../ports.ts'
import type { EventLog } from '../schemas/event.ts'
import type { EventCursor } from '../schemas/webhook-delivery.ts'
import type { WebhookEndpoint } from '../schemas/webhook-endpoint.ts'
import { all } from '../storage/every.ts'
import { insertOrGet, update } from '../storage/update.ts'
import { type TenantScope, tenantScope } from '../tenant-scope.ts'
import { recentEvents } from './recent-events.ts'
import { type StreamEvent, startStreamRunner } from './stream-runner.ts'
import { type EndpointRunner, startEndpointRunner } from './webhooks/endpoint-runner.ts'
import type { Sent, WebhookSender } from './webhooks/send.ts'

/** How long the others wait for a process that says nothing any more. */
const LEASE_MS = 15_000
const RENEW_MS = 5_000
/** Another process appends, and says so in the head alone. */
const LOOK_MS = 250
/** Cursors are behind by as much: what was sent since is known by its delivery. */
const SAVE_MS = 5_000
/** More may follow at once. */
const QUIET_MS = 2_000
/** The cursor of the stream, beside those of endpoints, whose ids begin otherwise. */
const STREAM = '$stream'

export interface EventSender {
  /** There may be something to send for the tenant. */
  wake(tenantId: string): void
  /** Attempts since the start, by outcome; and of the tenants that this process sends for, the events that endpoints still wait for, and endpoints that are down. */
  stats(): { attempts: ReadonlyMap<Sent['outcome'], number>; waiting: number; down: number }
  /** Resolves when nothing is under way; leases are given back. */
  stop(): Promise<void>
}

export interface EventSenderOptions {
  services: Services
  webhooks: WebhookSender
  /** Undefined: there is no stream. */
  stream: ((event: StreamEvent) => Promise<void>) | undefined
}

interface Load {
  waiting: number
  down: number
}

interface Running {
  wake(): void
  ended: Promise<void>
}

const enabledEndpoints = async ({ storage, tenantId }: TenantScope): Promise<WebhookEndpoint[]> =>
  (await all(storage.webhookEndpoints, { tenantId })).filter(({ enabled }) => enabled)

/** Waits so long, or until something is worth a look. */
interface Wakeups {
  next(ms: number): Promise<void>
}

export const startEventSender = ({ services, webhooks, stream }: EventSenderOptions): EventSender => {
  const { storage, clock, log, events } = services
  const { eventLogs } = storage
  const id = randomUUID()
  const attempts = new Map<Sent['outcome'], number>()
  const running = new Map<string, Running>()
  /** What each tenant's endpoints have before them. */
  const watched = new Set<() => Load>()
  let isStopping = false

  /** By tenant: when something is tried again. */
  const timers = new Map<string, NodeJS.Timeout>()
  const wakeLater = (tenantId: string, ms: number): void => {
    clearTimeout(timers.get(tenantId))
    timers.set(tenantId, setTimeout(wake, Math.min(Math.max(ms, 0), DAY_MS), tenantId).unref())
  }

  const headOf = (tenantId: string): Promise<EventLog | undefined> => eventLogs.find(keys.eventLog(tenantId))

  /** @returns the head, when the lease is ours. */
  const acquire = async (tenantId: string): Promise<EventLog | undefined> => {
    const head = await headOf(tenantId)
    if (!head) return undefined
    const leased = await update(
      eventLogs,
      head._id,
      (latest) => {
        const nowMs = clock.nowMs()
        const isTaken = latest.sender && latest.sender.id !== id && latest.sender.until.getTime() > nowMs
        const until = new Date(nowMs + LEASE_MS)
        // Should this process die, a sweeper finds it when the lease is over.
        return isTaken ? undefined : { ...latest, sender: { id, until }, repairAt: until }
      },
      head,
    )
    return leased.sender?.id === id ? leased : undefined
  }

  const runTenant = async (of: TenantScope, first: EventLog, leasedAtMs: number, wakeups: Wakeups): Promise<void> => {
    const { tenantId } = of
    const runners = new Map<string, EndpointRunner>()
    const stored = await insertOrGet(of.storage.eventCursors, { _id: of.keys.eventCursors(), tenantId, cursors: {}, createdAt: clock.now() })
    let head = first
    /** By a clock that does not jump. */
    let leasedMs = leasedAtMs
    let isLost = false
    let cursors: Record<string, EventCursor> = stored.cursors
    const stopping = new Set<Promise<void>>()
    let isSettled = false
    const recent = recentEvents((after, limit) => events.logs.read(tenantId, after, limit))
    /** A lease that was lost once is lost: what was not sent for that is begun anew by whoever comes next. */
    const mayGoOn = (): boolean => {
      isLost ||= performance.now() - leasedMs >= LEASE_MS
      return !isLost
    }
    const noted = ({ outcome }: Sent) => void attempts.set(outcome, (attempts.get(outcome) ?? 0) + 1)
    const streaming = stream && startStreamRunner({ cursor: cursors[STREAM], read: recent.read, publish: stream, mayGoOn, log })

    const loadEndpoints = async (): Promise<void> => {
      const wanted = await enabledEndpoints(of)
      const stopped = [...runners].filter(([endpointId, runner]) => runner.hasEnded() || !wanted.some((one) => one.id === endpointId))
      for (const [endpointId, runner] of stopped) {
        runners.delete(endpointId)
        // Not waited for: it may be in the middle of a slow answer.
        const ending: Promise<void> = runner.stop().finally(() => stopping.delete(ending))
        stopping.add(ending)
      }
      const { [STREAM]: ofStream, ...others } = cursors
      const living = Object.fromEntries(Object.entries(others).filter(([endpointId]) => wanted.some((one) => one.id === endpointId)))
      cursors = ofStream ? { ...living, [STREAM]: ofStream } : living
      for (const endpoint of wanted) {
        const runner = runners.get(endpoint.id)
        if (runner) runner.update(endpoint)
        else {
          const cursor = cursors[endpoint.id]
          const options = { of, endpoint, cursor, lastPlace: head.next - 1, webhooks, read: recent.read, mayGoOn, noted, log }
          runners.set(endpoint.id, startEndpointRunner(options))
        }
      }
    }

    const cursorsNow = (): Record<string, EventCursor> => ({
      ...cursors,
      ...Object.fromEntries([...runners].map(([endpointId, runner]) => [endpointId, runner.cursor()])),
      ...(streaming ? { [STREAM]: streaming.cursor() } : {}),
    })
    const save = async (): Promise<void> => {
      const now = cursorsNow()
      if (JSON.stringify(now) === JSON.stringify(cursors)) return
      await update(of.storage.eventCursors, stored._id, (latest) => ({ ...latest, cursors: now }))
      cursors = now
    }

    /** Everything has arrived, or waits for its time. @returns whether the lease was given back. */
    const settle = async (): Promise<boolean> => {
      const last = head.next - 1
      // Stopped first, so that none begins with something while its state is stored.
      await Promise.all([...runners.values()].map((runner) => runner.stop()))
      await events.logs.complete(head)
      await save()
      const retries = [...runners.values()].flatMap((runner) => runner.nextRetryMs() ?? [])
      const repairAt = retries.length > 0 ? new Date(Math.min(...retries)) : undefined
      const settled = await update(eventLogs, head._id, (latest) => {
        if (latest.next - 1 !== last || latest.nudges !== head.nudges || latest.sender?.id !== id) return undefined
        const { sender: _, pending: __, repairAt: ___, ...kept } = latest
        return repairAt ? { ...kept, repairAt } : kept
      })
      const isSettled = settled.sender?.id !== id
      // Should this process be gone by then, a sweeper comes.
      if (isSettled && repairAt) wakeLater(tenantId, repairAt.getTime() - clock.nowMs())
      runners.clear()
      return isSettled
    }

    const load = (): Load => ({
      waiting: [...runners.values()].reduce((total, runner) => total + Math.max(0, head.next - 1 - runner.cursor().position), 0),
      down: [...runners.values()].filter((runner) => runner.isDown()).length,
    })
    watched.add(load)
    try {
      await loadEndpoints()
      let [savedMs, busyMs] = [performance.now(), performance.now()]
      while (!isStopping && mayGoOn()) {
        const last = head.next - 1
        const isIdle = [...runners.values()].every((runner) => runner.isIdle(last)) && (streaming?.isIdle(last) ?? true)
        if (!isIdle) busyMs = performance.now()
        if (isIdle && performance.now() - busyMs >= QUIET_MS) {
          isSettled = await settle()
          if (isSettled) return
          busyMs = performance.now()
          await loadEndpoints()
        }
        if (performance.now() - savedMs >= SAVE_MS) {
          await save()
          savedMs = performance.now()
        }
        await wakeups.next(LOOK_MS)
        const before = head
        if (performance.now() - leasedMs >= RENEW_MS) {
          const askedMs = performance.now()
          const renewed = await acquire(tenantId)
          if (!renewed) return
          head = renewed
          leasedMs = askedMs
        } else head = (await headOf(tenantId)) ?? head
        if (head.sender?.id !== id) return
        if (head.nudges !== before.nudges) await loadEndpoints()
        if (head.next !== before.next) {
          for (const runner of runners.values()) runner.wake()
          streaming?.wake()
        }
      }
    } finally {
      watched.delete(load)
      await Promise.all([...runners.values()].map((runner) => runner.stop()))
      await streaming?.stop()
      await Promise.all(stopping)
      if (!isSettled && mayGoOn()) await save().catch(() => undefined)
      if (isStopping) {
        // Another process need not wait for the lease to run out.
        await update(eventLogs, head._id, ({ sender, ...latest }) => (sender?.id === id ? { ...latest, repairAt: clock.now() } : undefined)).catch(
          () => undefined,
        )
      }
    }
  }

  const run = async (tenantId: string, wakeups: Wakeups): Promise<void> => {
    const leasedAtMs = performance.now()
    const head = await acquire(tenantId)
    if (!head) return
    const tenant = await storage.tenants.find(keys.tenant(tenantId))
    if (!tenant || tenant.ended) {
      await update(eventLogs, head._id, ({ sender: _, repairAt: __, ...kept }) => kept)
      return
    }
    const of = tenantScope(services, tenant)
    if (!stream && (await enabledEndpoints(of)).length === 0) {
      // Nobody hears of them. More may follow at once, and is settled with these.
      await wakeups.next(QUIET_MS)
      // An endpoint may have been made since: it is looked for again.
      if (!(await events.logs.settle(tenantId, head)) && !isStopping) await run(tenantId, wakeups)
      return
    }
    await runTenant(of, head, leasedAtMs, wakeups)
  }

  const wake = (tenantId: string): void => {
    const known = running.get(tenantId)
    if (known) {
      known.wake()
      return
    }
    if (isStopping) return
    clearTimeout(timers.get(tenantId))
    timers.delete(tenantId)
    let rouse = () => {}
    let isRoused = false
    const wakeups = {
      next: async (ms: number): Promise<void> => {
        if (!isRoused) {
          const roused = new AbortController()
          rouse = () => roused.abort()
          await sleep(ms, undefined, { signal: roused.signal }).catch(() => undefined)
        }
        isRoused = false
      },
    }
    const ended = run(tenantId, wakeups)
      .catch((error: unknown) => {
        if (!isAppError(error, 'unavailable', 'revision_conflict'))
          log.error({ err: error, tenantId }, 'events of a tenant could not be sent out, and will be tried again')
      })
      .finally(() => {
        running.delete(tenantId)
        if (isRoused) wake(tenantId)
      })
    running.set(tenantId, {
      wake: () => {
        isRoused = true
        rouse()
      },
      ended,
    })
  }

  const stopFollowing = events.logs.follow(wake)
  return {
    wake,
    stats: () => {
      const loads = [...watched].map((load) => load())
      const sum = (of: (load: Load) => number): number => loads.reduce((total, load) => total + of(load), 0)
      return { attempts, waiting: sum(({ waiting }) => waiting), down: sum(({ down }) => down) }
    },
    stop: async () => {
      isStopping = true
      stopFollowing()
      for (const timer of timers.values()) clearTimeout(timer)
      for (const one of running.values()) one.wake()
      while (running.size > 0) await Promise.all([...running.values()].map(({ ended }) => ended))
    },
  }
}
