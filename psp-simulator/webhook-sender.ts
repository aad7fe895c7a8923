/**
 * Sends what has happened until each event is acknowledged; what is queued outlives the process. A tenant's events
 * are sent one after another, in the order in which they happened; those of a charge wait for the one before.
 */
import { Webhook } from 'standardwebhooks'
import type { Clock } from '../common/clock.ts'
import type { Log } from '../common/log.ts'
import type { Secret } from '../common/secret.ts'
import type { Bank } from './bank.ts'
import type { Ledger, LedgerEvent } from './ledger.ts'

const LOOK_EVERY_MS = 100
const SEND_TIMEOUT_MS = 5_000
/** Real providers wait longer; a receiver under test should not be waited for by people. */
const RETRY_AFTER_MS = 1_000
/** An event that is never acknowledged is given up after this many tries: about an hour. */
const MAX_TRIES = 3_600

export const startWebhookSender = (options: { ledger: Ledger; bank: Bank; secret: Secret; clock: Clock; log: Log }) => {
  const { ledger, bank, clock, log } = options
  const webhook = new Webhook(options.secret.reveal())
  const tries = new Map<string, { count: number; nextMs: number }>()

  const send = async (event: LedgerEvent): Promise<boolean> => {
    if (event.url === null) return true
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

  /** @param impatient without waiting until an event that was refused is tried again. */
  const sendDue = async (tenant: string, impatient: boolean): Promise<void> => {
    bank.happenDue(tenant)
    const waiting = new Set<string>()
    for (const event of ledger.untold(tenant)) {
      const about = event.chargeId ?? event.id
      if (waiting.has(about)) continue
      const nowMs = clock.nowMs()
      const tried = tries.get(event.id) ?? { count: 0, nextMs: 0 }
      if (!impatient && nowMs < tried.nextMs) {
        waiting.add(about)
        continue
      }
      if (!(await send(event))) {
        if (tried.count + 1 < MAX_TRIES) {
          // A clock that is moved over many days tries often, and gives nothing up sooner for that.
          if (nowMs >= tried.nextMs) tries.set(event.id, { count: tried.count + 1, nextMs: nowMs + RETRY_AFTER_MS })
          waiting.add(about)
          continue
        }
        log.warn({ event: event.id }, 'simulator: gave up on a webhook')
      }
      tries.delete(event.id)
      ledger.removeEvent(event.id)
    }
  }

  /** The last turn of each tenant; one at a time, so that no event overtakes another. */
  const turns = new Map<string, Promise<void>>()
  const inTurn = (tenant: string, impatient: boolean): Promise<void> => {
    const turn = (turns.get(tenant) ?? Promise.resolve()).then(() => sendDue(tenant, impatient))
    const over = turn
      .catch(() => {})
      .finally(() => {
        if (turns.get(tenant) === over) turns.delete(tenant)
      })
    turns.set(tenant, over)
    return turn
  }

  let busy = false
  let looking = Promise.resolve()
  const look = async () => {
    for (const tenant of ledger.tenantsWithWork(clock.nowMs()))
      await inTurn(tenant, false).catch((error) => log.error({ err: error, tenantId: tenant }, 'simulator: webhooks'))
  }
  const timer = setInterval(() => {
    if (busy) return
    busy = true
    looking = look()
      .catch((error) => log.error({ err: error }, 'simulator: webhooks'))
      .finally(() => {
        busy = false
      })
  }, LOOK_EVERY_MS)

  return {
    /** Sends what has happened to one tenant by now, and resolves when each event was taken or refused once. */
    sendNow: (tenant: string) => inTurn(tenant, true),
    /** The same, but an event that was refused a moment ago is left for later. */
    sendNew: (tenant: string) => inTurn(tenant, false),
    stop: async () => {
      clearInterval(timer)
      await looking
      await Promise.all(turns.values())
    },
  }
}
