/** Sends queued events until each is acknowledged; what is queued outlives the process. */
import { Webhook } from 'standardwebhooks'
import type { Clock } from '../common/clock.ts'
import type { Log } from '../common/log.ts'
import type { Ledger, OutgoingEvent } from './ledger.ts'

const LOOK_EVERY_MS = 100
const SEND_TIMEOUT_MS = 5_000
/** Real providers wait longer; a receiver under test should not be waited for by people. */
const RETRY_AFTER_MS = 1_000
/** An event that is never acknowledged is given up after this many tries: about an hour. */
const MAX_TRIES = 3_600

export const startWebhookSender = (options: { ledger: Ledger; secret: string; clock: Clock; log: Log }) => {
  const { ledger, clock, log } = options
  const webhook = new Webhook(options.secret)
  const tries = new Map<string, { count: number; nextMs: number }>()
  let sending = Promise.resolve()

  const send = async (event: OutgoingEvent): Promise<boolean> => {
    const now = clock.now()
    try {
      const answer = await fetch(event.url, {
        method: 'POST',
        body: event.body,
        headers: {
          'content-type': 'application/json',
          'webhook-id': event.id,
          'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
          'webhook-signature': webhook.sign(event.id, now, event.body),
        },
        signal: AbortSignal.timeout(SEND_TIMEOUT_MS),
      })
      await answer.body?.cancel()
      return answer.ok
    } catch {
      return false
    }
  }

  /** Its time has come, by the system's clock or by the tenant's. */
  const isDue = ({ tenant, notBeforeMs, dueAtMs }: OutgoingEvent): boolean =>
    (notBeforeMs !== null && notBeforeMs <= clock.nowMs()) || (dueAtMs !== null && dueAtMs <= (ledger.tenantNowMs(tenant) ?? -Infinity))

  const sendDue = async (tenant?: string) => {
    for (const event of ledger.queuedEvents(tenant)) {
      const nowMs = clock.nowMs()
      const tried = tries.get(event.id) ?? { count: 0, nextMs: 0 }
      if (nowMs < tried.nextMs || !isDue(event)) continue
      const done = await send(event)
      if (!done && tried.count + 1 < MAX_TRIES) {
        tries.set(event.id, { count: tried.count + 1, nextMs: nowMs + RETRY_AFTER_MS })
        continue
      }
      if (!done) log.warn({ event: event.id }, 'simulator: webhook given up')
      tries.delete(event.id)
      ledger.removeEvent(event.id)
    }
  }

  let busy = false
  const timer = setInterval(() => {
    if (busy) return
    busy = true
    sending = sendDue()
      .catch((error) => log.error({ err: error }, 'simulator: webhooks'))
      .finally(() => {
        busy = false
      })
  }, LOOK_EVERY_MS)

  return {
    isDue,
    /** Sends what is due for one tenant, and resolves when each event was taken or refused once. */
    sendNow: (tenant: string) => sendDue(tenant),
    stop: async () => {
      clearInterval(timer)
      await sending
    },
  }
}
