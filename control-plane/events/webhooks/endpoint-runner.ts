/**
 * Sends the events of a tenant to one endpoint, in the order of the log, several at once. It reads only as far ahead as it can
 * send, so an endpoint that is slow or away holds back nobody but itself, and takes no memory.
 *
 * While an endpoint is down, nothing new is tried: what has failed is, on its schedule, until something arrives.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import pLimit from 'p-limit'
import { DAY_MS } from '../../../common/durations.ts'
import { isAppError } from '../../../common/errors.ts'
import type { Log } from '../../../common/log.ts'
import type { Secret } from '../../../common/secret.ts'
import type { LoggedEvent } from '../../schemas/event.ts'
import type { EventCursor, WebhookDelivery } from '../../schemas/webhook-delivery.ts'
import type { WebhookEndpoint } from '../../schemas/webhook-endpoint.ts'
import { every } from '../../storage/every.ts'
import { update } from '../../storage/update.ts'
import type { TenantScope } from '../../tenant-scope.ts'
import { toEnvelope } from '../envelope.ts'
import { findDelivery, giveUp, holdBack, isWantedBy, recordAttempt, recordWaiting, subjectKeyOf } from './deliveries.ts'
import { signingSecrets } from './endpoints.ts'
import type { Sent, WebhookSender } from './send.ts'

const earlierMs = (a: number | undefined, b: number | undefined): number | undefined => (a === undefined || (b !== undefined && b < a) ? b : a)

/** It may be another process that sends by now. */
class NotSentError extends Error {}

/** Events that are taken from the log at once, and messages that are under way at once. */
const MOST_TAKEN = 64
const MOST_UNDER_WAY = 8
/** Of an endpoint that takes so long to answer: each holds a connection for all that time. */
const MOST_OF_A_SLOW_ONE = 2
const SLOW_MS = 2_000
/** Of one subject, where the order counts: more wait in storage. */
const MOST_OF_ONE_SUBJECT = 8
/** So many failures in a row: it is down. */
const DOWN_AFTER = 5
/** It is disabled when nothing has arrived for so long. */
const DISABLED_AFTER_MS = 3 * DAY_MS
const RETRIES_AT_ONCE = 20
/** When storage is away. */
const AGAIN_AFTER_MS = 1_000

export interface EndpointRunner {
  /** Goes on: there may be something new. */
  wake(): void
  /** The endpoint as it is by now; deliveries may have been asked for anew. */
  update(endpoint: WebhookEndpoint): void
  cursor(): EventCursor
  /** Nothing is under way, and everything up to this place was taken. */
  isIdle(lastPlace: number): boolean
  /** It was disabled meanwhile: another has to be started if it is enabled again. */
  hasEnded(): boolean
  /** Nothing has arrived lately. */
  isDown(): boolean
  /** When the next retry is due; undefined while there is none. */
  nextRetryMs(): number | undefined
  /** Resolves when nothing is under way any more. */
  stop(): Promise<void>
}

export interface EndpointRunnerOptions {
  of: TenantScope
  endpoint: WebhookEndpoint
  cursor: EventCursor | undefined
  /** The last place of the log when this began: what is not after it may have been sent before. */
  lastPlace: number
  webhooks: WebhookSender
  /** Events after a place, and the place that one is at with them. */
  read(after: number): Promise<{ events: readonly LoggedEvent[]; upTo: number }>
  /** False once another process may be sending. */
  mayGoOn(): boolean
  /** Told of each attempt, and when something is worth looking at again. */
  noted(sent: Sent): void
  log: Log
}

export const startEndpointRunner = (options: EndpointRunnerOptions): EndpointRunner => {
  const { of, webhooks, read, mayGoOn, noted, log, lastPlace } = options
  const { webhookDeliveries, webhookEndpoints } = of.storage
  let { endpoint } = options
  let position = Math.max(options.cursor?.position ?? 0, endpoint.fromPosition)
  let failingSince = options.cursor?.failingSince === undefined ? undefined : new Date(options.cursor.failingSince)
  let failures = failingSince ? DOWN_AFTER : 0
  let [isStopped, isDisabled, isSlow] = [false, false, false]
  let [isRecovered, isBeginning, isTaking, isAgain, isRetrying] = [false, false, false, false, false]
  /** Places of events that are taken and not done. */
  const taken = new Set<number>()
  /** In order: the work on each subject, and how much of it there is. */
  const chains = new Map<string, { tail: Promise<void>; length: number }>()
  /** In order: subjects with an event that is not delivered yet. */
  const held = new Set<string>()
  /** When the next retry is due, and the earliest of those that have failed since retries were last looked for. */
  let retryAtMs: number | undefined = of.clock.nowMs()
  let meanwhileMs: number | undefined
  let timer: NodeJS.Timeout | undefined
  const work = new Set<Promise<void>>()

  /** What is stored of its deliveries. */
  const own = { tenantId: of.tenantId, endpointId: endpoint.id }

  const isDown = (): boolean => failures >= DOWN_AFTER

  const tellUnlessAway = (error: unknown): void => {
    if (!isAppError(error, 'unavailable', 'revision_conflict'))
      log.error({ err: error, tenantId: of.tenantId, endpoint: endpoint.id }, 'a webhook could not be worked on')
  }

  const inBackground = (run: () => Promise<void>): void => {
    const one: Promise<void> = run()
      .catch((error: unknown) => {
        if (error instanceof NotSentError) return
        tellUnlessAway(error)
        schedule(AGAIN_AFTER_MS)
      })
      .finally(() => work.delete(one))
    work.add(one)
  }

  const schedule = (ms: number): void => {
    if (isStopped) return
    clearTimeout(timer)
    timer = setTimeout(wake, Math.min(ms, DAY_MS))
  }

  /** Set anew whenever an attempt has shown how the endpoint is. */
  const underWay = pLimit(MOST_UNDER_WAY)
  const setMostUnderWay = (): void => {
    const most = isSlow ? MOST_OF_A_SLOW_ONE : MOST_UNDER_WAY
    // Nothing is sent any more by what is let through then.
    underWay.concurrency = isStopped ? Number.POSITIVE_INFINITY : isDown() ? 1 : most
  }
  setMostUnderWay()

  const disable = async (disabledReason: 'failing' | 'gone'): Promise<void> => {
    await update(webhookEndpoints, endpoint._id, (latest) =>
      latest.enabled ? { ...latest, enabled: false, disabledAt: of.clock.now(), disabledReason } : undefined,
    )
    log.warn({ tenantId: of.tenantId, endpoint: endpoint.id, disabledReason }, 'a webhook endpoint was disabled')
    isStopped = true
    isDisabled = true
    setMostUnderWay()
    await of.events.logs.nudge(of.tenantId)
  }

  /** What an attempt says of the endpoint. */
  const learn = async ({ outcome, gone }: Sent): Promise<void> => {
    if (outcome === 'delivered') {
      const wasDown = isDown()
      failures = 0
      failingSince = undefined
      if (wasDown) await tryAllAgain()
      return
    }
    failures += 1
    failingSince ??= of.clock.now()
    if (gone) await disable('gone')
    else if (of.clock.nowMs() - failingSince.getTime() >= DISABLED_AFTER_MS) await disable('failing')
  }

  /** It is back: what has failed meanwhile does not wait for its schedule. */
  const tryAllAgain = async (): Promise<void> => {
    const where = { ...own, status: 'retrying' }
    const now = of.clock.now()
    for await (const { _id } of every(webhookDeliveries, where))
      await update(webhookDeliveries, _id, (latest) => (latest.dueAt && latest.dueAt > now ? { ...latest, dueAt: now } : undefined))
    retryAtMs = now.getTime()
  }

  const sendSigned = async (event: LoggedEvent, url: string): Promise<Sent> => {
    let secrets: Secret[]
    try {
      secrets = signingSecrets(of, endpoint)
    } catch {
      // The key that they were sealed with is missing: it may be there again later.
      return { outcome: 'unreachable', durationMs: 0, error: 'no_secret: the secrets of the endpoint cannot be decrypted; check CREDENTIALS_KEY' }
    }
    return webhooks.send({ url, secrets, id: event.id, body: JSON.stringify(toEnvelope(event)) })
  }

  /** @throws NotSentError. */
  const attempt = (event: LoggedEvent, known: WebhookDelivery | undefined): Promise<WebhookDelivery> =>
    underWay(async () => {
      if (isStopped || !mayGoOn()) throw new NotSentError()
      const at = of.clock.now()
      const { url } = endpoint
      const sent = await sendSigned(event, url)
      noted(sent)
      isSlow = sent.durationMs > SLOW_MS
      const delivery = await recordAttempt(of, { endpointId: endpoint.id, event }, known, { url, at, sent })
      retryAtMs = earlierMs(retryAtMs, delivery.dueAt?.getTime())
      meanwhileMs = earlierMs(meanwhileMs, delivery.dueAt?.getTime())
      await learn(sent)
      setMostUnderWay()
      return delivery
    })

  const retryOne = async (delivery: WebhookDelivery): Promise<WebhookDelivery> => {
    const event = await of.storage.loggedEvents.find(of.keys.loggedEvent(delivery.eventId))
    return event ? attempt(event, delivery) : giveUp(of, delivery, 'the event is no longer kept')
  }

  /** Work on one subject, after the work before it. */
  const inOrder = (subject: string, run: () => Promise<void>): Promise<void> => {
    const chain = chains.get(subject) ?? { tail: Promise.resolve(), length: 0 }
    chains.set(subject, chain)
    chain.length += 1
    const done = chain.tail.then(run).finally(() => {
      chain.length -= 1
      if (chain.length === 0) chains.delete(subject)
    })
    chain.tail = done.catch(() => undefined)
    return done
  }

  /** Those that an event of the subject has held back, one after another. */
  const release = async (subject: string): Promise<void> => {
    const where = { ...own, status: 'waiting', subjectKey: subject }
    for (;;) {
      const [next] = await webhookDeliveries.after({ where, above: 0, limit: 1 })
      if (!next) break
      const delivery = await retryOne(next)
      if (delivery.status === 'retrying') return
    }
    held.delete(subject)
  }

  /** Repeats what storage has kept from being done. @throws NotSentError. */
  const forSure = async <T>(run: () => Promise<T>): Promise<T> => {
    for (;;) {
      try {
        return await run()
      } catch (error) {
        if (isStopped || error instanceof NotSentError) throw new NotSentError()
        tellUnlessAway(error)
        await sleep(AGAIN_AFTER_MS, undefined, { ref: false })
      }
    }
  }

  const releaseForSure = (subject: string): Promise<void> => forSure(() => release(subject))

  const deliver = async (event: LoggedEvent): Promise<void> => {
    const place = { endpointId: endpoint.id, event }
    const isKnown = async (): Promise<boolean> => event.position <= lastPlace && (await findDelivery(of, place)) !== undefined
    if (!endpoint.ordered) {
      await forSure(async () => {
        if (!(await isKnown())) await attempt(event, undefined)
      })
      return
    }
    const subject = subjectKeyOf(event)
    const waits = held.has(subject) || (chains.get(subject)?.length ?? 0) >= MOST_OF_ONE_SUBJECT
    if (waits) held.add(subject)
    // It takes its turn before anything is waited for, and is repeated in it: what comes after it may not get past it.
    await inOrder(subject, () =>
      forSure(async () => {
        if (await isKnown()) return
        if (held.has(subject)) {
          await recordWaiting(of, place)
          // Held back by their number alone: nobody else comes back to them.
          if (waits && !(await firstRetrying(subject))) await release(subject)
          return
        }
        const delivery = await attempt(event, undefined)
        if (delivery.status === 'retrying') held.add(subject)
      }),
    )
  }

  /** The event of the subject that is tried again by its schedule, and then releases the others. */
  const firstRetrying = async (subject: string): Promise<WebhookDelivery | undefined> => {
    const where = { ...own, status: 'retrying', subjectKey: subject }
    return (await webhookDeliveries.after({ where, above: 0, limit: 1 }))[0]
  }

  /** An event that is taken is done with when what became of it is stored; until then the cursor stays before it. */
  const deliverTaken = async (event: LoggedEvent): Promise<void> => {
    await deliver(event)
    taken.delete(event.position)
    wake()
  }

  /** While it is down, only what has failed is tried; if nothing waits to be tried, something has to be. */
  const isBlocked = (): boolean => isDown() && retryAtMs !== undefined

  const takeMore = async (): Promise<void> => {
    if (isTaking) {
      isAgain = true
      return
    }
    isTaking = true
    try {
      do {
        isAgain = false
        await takeSome()
      } while (isAgain)
    } finally {
      isTaking = false
    }
  }

  const takeSome = async (): Promise<void> => {
    while (!isStopped && mayGoOn() && !isBlocked() && taken.size < MOST_TAKEN) {
      const { events, upTo } = await read(position)
      if (upTo <= position) return
      for (const event of events) {
        if (isStopped || isBlocked() || taken.size >= MOST_TAKEN) break
        position = event.position
        if (!isWantedBy(endpoint, event)) continue
        taken.add(event.position)
        inBackground(() => deliverTaken(event))
      }
      if (position >= (events.at(-1)?.position ?? 0)) position = Math.max(position, upTo)
    }
  }

  /** In its turn among those of its subject, and after those before it. */
  const retryInOrder = (delivery: WebhookDelivery): Promise<void> => {
    const { subjectKey } = delivery
    held.add(subjectKey)
    return inOrder(subjectKey, async () => {
      const first = await firstRetrying(subjectKey)
      if (first && first.position < delivery.position) return holdBack(of, delivery)
      const tried = await retryOne(delivery)
      // Others are not kept from their retries meanwhile.
      if (tried.status !== 'retrying') inBackground(() => inOrder(subjectKey, () => releaseForSure(subjectKey)))
    })
  }

  const retry = async (): Promise<void> => {
    if (isRetrying || retryAtMs === undefined || retryAtMs > of.clock.nowMs()) return
    isRetrying = true
    meanwhileMs = undefined
    try {
      const due = await webhookDeliveries.due({ by: 'dueAt', where: own, until: of.clock.now(), limit: isDown() ? 1 : RETRIES_AT_ONCE })
      await Promise.all(due.map((delivery) => (endpoint.ordered ? retryInOrder(delivery) : retryOne(delivery))))
      const [next] = await webhookDeliveries.due({ by: 'dueAt', where: own, until: new Date(of.clock.nowMs() + 400 * DAY_MS), limit: 1 })
      // One may have failed while storage was asked.
      retryAtMs = earlierMs(meanwhileMs, next?.dueAt?.getTime())
    } finally {
      isRetrying = false
    }
    // Not after a failure, which is tried again after a pause.
    wake()
  }

  /** What another process has left: subjects that are held, and those that nothing holds any more. */
  const recover = async (): Promise<void> => {
    const retrying = new Set<string>()
    for await (const { subjectKey } of every(webhookDeliveries, { ...own, status: 'retrying' })) retrying.add(subjectKey)
    const left = new Set<string>()
    for await (const { subjectKey } of every(webhookDeliveries, { ...own, status: 'waiting' }))
      if (!endpoint.ordered || !retrying.has(subjectKey)) left.add(subjectKey)
    if (endpoint.ordered) for (const subject of [...retrying, ...left]) held.add(subject)
    else held.clear()
    for (const subject of left) inBackground(() => inOrder(subject, () => releaseForSure(subject)))
  }

  const begin = async (): Promise<void> => {
    if (isBeginning) return
    isBeginning = true
    try {
      await recover()
      isRecovered = true
    } finally {
      isBeginning = false
    }
    wake()
  }
  const wake = (): void => {
    if (isStopped) return
    if (!isRecovered) {
      inBackground(begin)
      return
    }
    inBackground(takeMore)
    inBackground(retry)
    const nowMs = of.clock.nowMs()
    if (retryAtMs !== undefined && retryAtMs > nowMs) schedule(retryAtMs - nowMs)
  }
  inBackground(begin)

  return {
    wake,
    update: (latest) => {
      const isOtherwise = latest.ordered !== endpoint.ordered
      endpoint = latest
      if (isOtherwise) inBackground(recover)
      position = Math.max(position, latest.fromPosition)
      retryAtMs = of.clock.nowMs()
      wake()
    },
    cursor: () => {
      const done = Math.min(position, ...[...taken].map((place) => place - 1))
      return { position: done, ...(failingSince ? { failingSince: failingSince.toISOString() } : {}) }
    },
    isIdle: (last) =>
      isStopped ||
      (isRecovered && work.size === 0 && taken.size === 0 && (isBlocked() || position >= last) && !(retryAtMs !== undefined && retryAtMs <= of.clock.nowMs())),
    hasEnded: () => isDisabled,
    isDown,
    nextRetryMs: () => (isDisabled ? undefined : retryAtMs),
    stop: async () => {
      isStopped = true
      clearTimeout(timer)
      setMostUnderWay()
      while (work.size > 0) await Promise.all(work)
    },
  }
}
