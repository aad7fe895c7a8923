/**
 * The signature of a PayPal webhook, verified without asking PayPal:
 * https://developer.paypal.com/api/rest/webhooks/rest/#link-selfverificationmethod. Its library has nothing for it.
 */

import { createVerify, X509Certificate } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { LRUCache } from 'lru-cache'
import { RateLimiterMemory } from 'rate-limiter-flexible'
import { DAY_MS, HOUR_MS } from '../../../../common/durations.ts'
import { AppError } from '../../../../common/errors.ts'
import type { OutgoingTransport } from '../../../outgoing-http.ts'

/** PayPal has a handful of certificates at a time. */
const certificates = new LRUCache<string, X509Certificate>({ max: 20, ttl: DAY_MS })

/** PayPal sends an event again for three days. */
const TOLERANCE_MS = 75 * HOUR_MS

export interface PaypalSignature {
  headers: Record<string, string | undefined>
  rawBody: string
  webhookId: string
  /** A host that certificates are accepted from, besides PayPal's own. */
  trustedOrigin: string | undefined
  nowMs: number
  transport: OutgoingTransport
}

/** The path of PayPal's certificates: anything else below paypal.com may be anybody's text. */
const CERTIFICATES = '/v1/notifications/certs/'

/** A certificate from anywhere else would let anybody sign. */
const isTrusted = (url: URL, trustedOrigin: string | undefined): boolean =>
  url.pathname.startsWith(CERTIFICATES) &&
  url.search === '' &&
  url.hash === '' &&
  ((url.protocol === 'https:' && ['api.paypal.com', 'api.sandbox.paypal.com'].includes(url.hostname)) || url.origin === trustedOrigin)

/** Certificates that are not known yet and are fetched per minute: somebody who sends rubbish does not make us ask PayPal each time. */
const fetches = new RateLimiterMemory({ points: 20, duration: 60 })

/** @throws Error when it is no certificate; AppError `unavailable` when it cannot be had now. */
const fetchCertificate = async (url: URL, webhookId: string, transport: OutgoingTransport): Promise<X509Certificate> => {
  // Neither says that the signature is wrong: PayPal sends the event again.
  await fetches.consume(webhookId).catch(() => {
    throw new AppError('unavailable', 'too many unknown certificates were requested within a minute; send the event again later')
  })
  const text = await transport.fetch(url).then(
    (answer) => (answer.ok ? answer.text() : ''),
    (error: unknown) => {
      throw new AppError('unavailable', "PayPal's certificate cannot be fetched right now; send the event again later", [], { cause: error })
    },
  )
  return new X509Certificate(text)
}

/** @throws Error that says what does not hold. */
export const verifyPaypalSignature = async ({ headers, rawBody, webhookId, trustedOrigin, nowMs, transport }: PaypalSignature): Promise<void> => {
  const header = (name: string): string => {
    const value = headers[`paypal-${name}`]
    if (!value) throw new Error(`the header paypal-${name} is missing`)
    return value
  }
  const time = header('transmission-time')
  const ageMs = nowMs - Date.parse(time)
  if (!(Math.abs(ageMs) <= TOLERANCE_MS)) throw new Error('the event is too old')
  if (header('auth-algo') !== 'SHA256withRSA') throw new Error('the algorithm is not SHA256withRSA')
  const certUrl = new URL(header('cert-url'))
  if (!isTrusted(certUrl, trustedOrigin)) throw new Error("the certificate's address is not at PayPal")
  const certificate = certificates.get(certUrl.href) ?? (await fetchCertificate(certUrl, webhookId, transport))
  if (nowMs < certificate.validFromDate.getTime() || nowMs > certificate.validToDate.getTime()) throw new Error('the certificate is not valid at this time')
  const signed = `${header('transmission-id')}|${time}|${webhookId}|${crc32(rawBody)}`
  const isValid = createVerify('SHA256').update(signed).verify(certificate.publicKey, header('transmission-sig'), 'base64')
  if (!isValid) throw new Error('the signature does not match')
  certificates.set(certUrl.href, certificate)
}
