/**
 * Sends one message to a webhook endpoint, once. It is signed as https://www.standardwebhooks.com says; the whole of it, from the
 * look-up of the name to the end of the answer, has one deadline. To try again is somebody else's.
 */
import { readFileSync } from 'node:fs'
import { Webhook } from 'standardwebhooks'
import { request } from 'undici'
import type { Clock } from '../../../common/clock.ts'
import { DAY_MS } from '../../../common/durations.ts'
import type { Secret } from '../../../common/secret.ts'
import { createOutgoingAgent, isInternalAddress, type Lookup } from '../../outgoing-http.ts'

export interface WebhookMessage {
  url: string
  /** The message is signed with each: while one is changed for another, receivers know either. */
  secrets: Secret[]
  /** The event's id: the same in every delivery of it. */
  id: string
  body: string
  signal?: AbortSignal
}

export interface Sent {
  /** `unreachable`: there is no answer. Whether the message has arrived is not known. */
  outcome: 'delivered' | 'refused' | 'unreachable'
  status?: number
  /** The beginning of the answer's body. */
  answer?: string
  durationMs: number
  /** A short code and a sentence, such as `timeout: …`; absent if it was delivered. */
  error?: string
  /** How long the receiver wants to be left alone: with 429 and 503. */
  retryAfterMs?: number
  /** The receiver wants no more messages at this address, ever: 410. */
  gone?: boolean
}

export interface WebhookSender {
  /** It never rejects. */
  send(message: WebhookMessage): Promise<Sent>
}

export interface WebhookSenderOptions {
  clock: Clock
  /** Endpoints may be in our own network, and without TLS. */
  allowPrivate: boolean
  timeoutMs?: number
  /** Answers all addresses of a name; the system's own without. */
  lookup?: Lookup
}

/** What receivers commonly have to answer within. */
const TIMEOUT_MS = 15_000
/** Enough to see why somebody refused. */
const MAX_ANSWER_BYTES = 4_096
/** Idle connections of a thousand hosts do not add up in so short a time. */
const KEEP_ALIVE_MS = 4_000

const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as { version: string }

const headersOf = ({ id, body, secrets }: WebhookMessage, at: Date): Record<string, string> => ({
  'content-type': 'application/cloudevents+json; charset=utf-8',
  'user-agent': `Tollgate-Webhooks/${version}`,
  'webhook-id': id,
  'webhook-timestamp': String(Math.floor(at.getTime() / 1_000)),
  'webhook-signature': secrets.map((secret) => new Webhook(secret.reveal()).sign(id, at, body)).join(' '),
})

/** Control characters, which are nothing to look at, are replaced; a character that the bound has cut is left out. */
const asText = (bytes: Buffer): string =>
  new TextDecoder().decode(bytes.subarray(0, MAX_ANSWER_BYTES), { stream: bytes.length > MAX_ANSWER_BYTES }).replaceAll(/(?![\t\n\r])\p{Cc}/gu, '\uFFFD')

/** The status has decided: a body that is long, slow or cut off changes nothing. */
const beginningOf = async (body: AsyncIterable<Buffer>): Promise<string> => {
  const chunks: Buffer[] = []
  let bytes = 0
  try {
    for await (const chunk of body) {
      chunks.push(chunk)
      bytes += chunk.byteLength
      // To leave the loop closes the connection.
      if (bytes > MAX_ANSWER_BYTES) break
    }
  } catch {
    // What has come until then is all there is.
  }
  return asText(Buffer.concat(chunks))
}

/** @param header seconds, or a date: https://www.rfc-editor.org/rfc/rfc9110#field.retry-after. */
const retryAfterMs = (header: string | string[] | undefined, now: Date): number | undefined => {
  if (typeof header !== 'string') return undefined
  const ms = /^\d+$/.test(header) ? Number(header) * 1_000 : Date.parse(header) - now.getTime()
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), DAY_MS)
}

const refusal = (status: number): string => {
  if (status < 400) return `redirect: the endpoint answered ${status}, and redirects are not followed; set the URL to where it leads`
  if (status === 410) return 'gone: the endpoint answered 410, it wants no more events'
  return `status_${status}: the endpoint answered ${status}; answer 2xx to accept an event`
}

const NO_TLS = /^(ERR_TLS|ERR_SSL|CERT_|UNABLE_TO_|DEPTH_ZERO|SELF_SIGNED|HOSTNAME_MISMATCH|EPROTO)/

/** Says enough to look for the fault at the endpoint, and too little to find out what else is in our network. */
const failureOf = (error: unknown, timeoutMs: number): string => {
  const { code: itsCode, name, cause } = error as { code?: unknown; name?: string; cause?: { code?: unknown } }
  const code = String(typeof itsCode === 'string' ? itsCode : (cause?.code ?? name))
  if (name === 'TimeoutError' || /^UND_ERR_\w+_TIMEOUT$|^ETIMEDOUT$/.test(code))
    return `timeout: the endpoint did not answer within ${timeoutMs / 1_000} seconds`
  if (code === 'ENOTPUBLIC') return 'not_public: the host has an address that is not on the internet'
  if (/^(ENOTFOUND|EAI_|ENODATA)/.test(code)) return 'unknown_host: the name of the host cannot be looked up'
  if (code === 'ECONNREFUSED') return 'connection_refused: nothing listens at this host and port'
  if (NO_TLS.test(code)) return `tls: a connection with TLS cannot be made (${code})`
  if (name === 'AbortError') return 'stopped: it was not waited for the answer'
  return 'connection_failed: the connection could not be made, or broke off before an answer'
}

export const createWebhookSender = ({ clock, allowPrivate, timeoutMs = TIMEOUT_MS, lookup }: WebhookSenderOptions): WebhookSender => {
  const dispatcher = createOutgoingAgent({
    onlyPublic: !allowPrivate,
    lookup,
    connectTimeoutMs: timeoutMs,
    // Endpoints of many tenants may share a host: each is bounded by what is sent to it at once.
    connections: null,
    keepAliveTimeout: KEEP_ALIVE_MS,
    keepAliveMaxTimeout: KEEP_ALIVE_MS,
  })
  const post = async (message: WebhookMessage): Promise<Omit<Sent, 'durationMs'>> => {
    const deadline = AbortSignal.timeout(timeoutMs)
    const signal = message.signal ? AbortSignal.any([deadline, message.signal]) : deadline
    const url = new URL(message.url)
    if (!allowPrivate && isInternalAddress(url)) return { outcome: 'unreachable', error: failureOf({ code: 'ENOTPUBLIC' }, timeoutMs) }
    // The time that receivers compare with their own.
    const headers = headersOf(message, clock.now())
    const { statusCode: status, headers: answered, body } = await request(url, { method: 'POST', headers, body: message.body, dispatcher, signal })
    const answer = await beginningOf(body)
    if (status >= 200 && status < 300) return { outcome: 'delivered', status, answer }
    const waitMs = status === 429 || status === 503 ? retryAfterMs(answered['retry-after'], clock.now()) : undefined
    return {
      outcome: 'refused',
      status,
      answer,
      error: refusal(status),
      ...(waitMs === undefined ? {} : { retryAfterMs: waitMs }),
      ...(status === 410 ? { gone: true } : {}),
    }
  }
  return {
    send: async (message) => {
      const begun = performance.now()
      const sent = await post(message).catch((error: unknown) => ({ outcome: 'unreachable' as const, error: failureOf(error, timeoutMs) }))
      return { ...sent, durationMs: Math.round(performance.now() - begun) }
    },
  }
}
