/**
 * Sends one message to a webhook endpoint, signed as Standard Webhooks:
 * https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md.
 */
import { Webhook } from 'standardwebhooks'
import type { Clock } from '../../../common/clock.ts'
import { DAY_MS } from '../../../common/durations.ts'
import type { Secret } from '../../../common/secret.ts'
import { createOutgoingTransport } from '../../outgoing-http.ts'
import type { attemptOutcomes } from '../../schemas/webhook-delivery.ts'

const DEFAULT_TIMEOUT_MS = 15_000
/** Of the answer's body: enough to see what went wrong. */
const KEPT_BYTES = 4_096

export interface WebhookMessage {
  url: string
  /** Each makes a signature of its own. */
  secrets: readonly Secret[]
  /** The same in each try. */
  id: string
  body: string
}

export interface Sent {
  outcome: (typeof attemptOutcomes)[number]
  status?: number
  /** The beginning of the answer's body. */
  answer?: string
  durationMs: number
  error?: string
  /** The receiver asks for a pause. At most a day. */
  retryAfterMs?: number
  /** It has answered 410: nobody is there any more. */
  gone?: boolean
}

/** @returns what became of the message; it does not throw. */
export type SendWebhook = (message: WebhookMessage) => Promise<Sent>

export interface WebhookSenderOptions {
  clock: Clock
  /** Private addresses, and http: for development. */
  allowPrivate: boolean
  timeoutMs?: number
  userAgent: string
}

const beginningOf = async (response: Response): Promise<string> => {
  const chunks: Uint8Array[] = []
  let bytes = 0
  if (response.body)
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      chunks.push(chunk)
      bytes += chunk.byteLength
      // To leave the loop lets go of the connection.
      if (bytes >= KEPT_BYTES) break
    }
  // Half a character at the cut is not kept.
  return new TextDecoder().decode(Buffer.concat(chunks).subarray(0, KEPT_BYTES), { stream: true }).replaceAll('\0', '')
}

const retryAfterOf = (response: Response, nowMs: number): number | undefined => {
  const header = response.headers.get('retry-after')
  if (header === null || ![429, 503].includes(response.status)) return undefined
  const ms = /^\d{1,9}$/.test(header) ? Number(header) * 1_000 : Date.parse(header) - nowMs
  return Number.isNaN(ms) || ms <= 0 ? undefined : Math.min(ms, DAY_MS)
}

/** In a few words: the causes of errors in Node's `fetch` say more than the errors. */
const reasonOf = (error: unknown): string => {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
  if (!(cause instanceof Error)) return String(cause)
  if (cause.name === 'TimeoutError') return 'there was no answer in time'
  const { code } = cause as { code?: string }
  return code && !cause.message.includes(code) ? `${code}: ${cause.message}` : cause.message
}

export const createWebhookSender = ({ clock, allowPrivate, timeoutMs = DEFAULT_TIMEOUT_MS, userAgent }: WebhookSenderOptions): SendWebhook => {
  const transport = createOutgoingTransport({ timeoutMs, onlyPublic: !allowPrivate })
  return async ({ url, secrets, id, body }) => {
    const begunMs = clock.nowMs()
    const timestamp = new Date(begunMs)
    try {
      const signatures = secrets.map((secret) => new Webhook(secret.reveal()).sign(id, timestamp, body))
      const response = await transport.open(url, {
        method: 'POST',
        headers: {
          'content-type': 'application/cloudevents+json; charset=utf-8',
          'user-agent': userAgent,
          'webhook-id': id,
          'webhook-timestamp': String(Math.floor(begunMs / 1_000)),
          'webhook-signature': signatures.join(' '),
        },
        body,
      })
      const { status, ok } = response
      const answer = await beginningOf(response).catch(() => '')
      const retryAfterMs = retryAfterOf(response, clock.nowMs())
      return {
        outcome: ok ? 'delivered' : 'refused',
        status,
        durationMs: clock.nowMs() - begunMs,
        ...(answer === '' ? {} : { answer }),
        ...(ok ? {} : { error: `the endpoint answered ${status}` }),
        ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
        ...(status === 410 ? { gone: true } : {}),
      }
    } catch (error) {
      return { outcome: 'unreachable', durationMs: clock.nowMs() - begunMs, error: reasonOf(error).slice(0, 500) }
    }
  }
}
