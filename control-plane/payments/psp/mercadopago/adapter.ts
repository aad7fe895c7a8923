/**
 * MercadoPago, by payments, on its own library. An account's credentials are `accessToken`; its webhook secret is the
 * signature key of the application. A token is `<customer id>/<card id>` of a saved card, with the card's brand
 * (`…/visa`) where MercadoPago asks for it, or a card token of a checkout, which is good once.
 *
 * The library knows one base URL for the whole process, so ours is set where it keeps it.
 */

import { CardToken, InvalidWebhookSignatureError, MercadoPagoConfig, Payment, PaymentRefund, WebhookSignatureValidator } from 'mercadopago'
import { AppConfig } from 'mercadopago/dist/utils/config/index.js'
import { MercadoPagoError, MPConnectionError } from 'mercadopago/dist/utils/errors/index.js'
import type { Clock } from '../../../../common/clock.ts'
import { DAY_MS } from '../../../../common/durations.ts'
import { AppError } from '../../../../common/errors.ts'
import { toSecret } from '../../../../common/secret.ts'
import { z } from '../../../../common/zod.ts'
import { boundedOptions } from '../../../outgoing-http.ts'
import { askAfterCancel, askWhatBecame, givenUp, type Refusal, refusalIn } from '../ask-after-failure.ts'
import { completeByInquiry } from '../complete-by-inquiry.ts'
import { countedBy } from '../counted-currencies.ts'
import { inexpressible, toDecimal } from '../currency-exponents.ts'
import type { PspProvider } from '../directory.ts'
import { orUnknown } from '../or-unknown.ts'
import type { ChargeName, ChargeOutcome, ChargeRequest, Psp } from '../psp.ts'
import { credentialsRefusedBy, transportFailure } from '../transport-errors.ts'
import {
  type MercadopagoEvent,
  type MercadopagoPayment,
  mercadopagoCauses,
  toEvent,
  toFoundCharge,
  toOutcome,
  toRefundOutcome,
  UNCLEAR_CAUSES,
} from './mapping.ts'

const credentials = z.strictObject({ accessToken: z.string('is required: the access token of the application').min(1).transform(toSecret) })

const IDEMPOTENCY_MS = DAY_MS
/** The same tolerance as for Stripe; MercadoPago sends events again for days, each time with a new signature. */
const WEBHOOK_TOLERANCE_S = 300

const mercadopagoCodeOf = (error: unknown): string => {
  if (!(error instanceof MercadoPagoError) || error instanceof MPConnectionError) return transportFailure(error).pspCode
  return error.error || `http_${error.status}`
}

/** MercadoPago sends a list of codes here; anything else says nothing. */
const causes = z.array(z.object({ code: z.union([z.string(), z.number()]).transform(String) }).catch({ code: '' })).catch([])

const causesOf = (error: MercadoPagoError): string[] => causes.parse(error.causes).map(({ code }) => code)

/** The outcome of a call that MercadoPago, or the way to it, answered with an error. */
const toFailure = (error: unknown): ChargeOutcome => {
  if (!(error instanceof MercadoPagoError) || error instanceof MPConnectionError) return transportFailure(error)
  const pspCode = mercadopagoCodeOf(error)
  if (error.status === 429) return { status: 'declined', declineClass: 'technical', pspCode }
  const codes = causesOf(error)
  if (codes.some((cause) => UNCLEAR_CAUSES.includes(cause))) return { status: 'unknown', pspCode }
  // Locked, in conflict with an earlier one, or waiting for somebody else: not known to be refused.
  if ([408, 409, 423, 424].includes(error.status) || error.status >= 500 || error.status === 0) return { status: 'unknown', pspCode }
  const known = codes.map((cause) => mercadopagoCauses[cause]).find((one) => one !== undefined)
  return {
    status: 'declined',
    declineClass: known ?? (error.status === 404 || error.status === 402 ? 'credential' : 'config'),
    pspCode,
    ...credentialsRefusedBy(error.status),
  }
}

const refusalOf = (error: unknown): Refusal | undefined => refusalIn(toFailure(error), error instanceof MercadoPagoError ? error.status : undefined)

const event = z.object({
  id: z.union([z.number(), z.string()]),
  type: z.string().optional(),
  action: z.string().optional(),
  data: z.looseObject({}).optional(),
})

export const mercadopagoProvider = (deps: { clock: Clock; baseUrl: string | undefined }): PspProvider<z.infer<typeof credentials>> => ({
  credentials,
  webhookProblem: (_, secret) => (secret ? undefined : "webhookSecret must be the application's signature key"),
  create: ({ credentials: { accessToken }, webhookSecret, returnUrl, timeoutMs }): Psp => {
    if (deps.baseUrl !== undefined) Object.assign(AppConfig, { BASE_URL: deps.baseUrl.replace(/\/$/, '') })
    const bounded = boundedOptions(timeoutMs)
    /** One configuration per call: the library keeps the options of one call for the next, and hands what it does not know on to `fetch`. */
    const config = (idempotencyKey?: string) =>
      new MercadoPagoConfig({
        accessToken: accessToken.reveal(),
        options: { timeout: timeoutMs, maxRetries: 0, ...bounded, ...(idempotencyKey ? { idempotencyKey } : {}) },
      })

    const find = async ({ reference, pspReference }: ChargeName): Promise<MercadopagoPayment | undefined> => {
      if (pspReference) return (await new Payment(config()).get({ id: pspReference })) as MercadopagoPayment
      const found = await new Payment(config()).search({ options: { external_reference: reference, sort: 'date_created', criteria: 'desc', limit: 1 } })
      if (!Array.isArray(found.results)) throw new Error('the search has no results')
      return found.results[0] as MercadopagoPayment | undefined
    }
    const onPayment = async (
      charge: ChargeName,
      act: (id: string) => Promise<unknown>,
      otherwise: (error: unknown) => Promise<ChargeOutcome>,
    ): Promise<ChargeOutcome> => {
      try {
        const id = charge.pspReference ?? (await find(charge))?.id
        if (id === undefined) return { status: 'unknown', pspCode: 'not_found' }
        const outcome = toOutcome((await act(String(id))) as MercadopagoPayment)
        return outcome.status === 'unknown' ? await askWhatBecame(psp, charge, outcome.pspCode) : outcome
      } catch (error) {
        return otherwise(error)
      }
    }
    /**
     * The part of a request about a customer who is present:
     * https://www.mercadopago.com/developers/en/docs/checkout-api-payments/how-tos/integrate-3ds. A page that is not https is
     * nowhere that MercadoPago sends anybody; it is left out, lest the payment be refused for it.
     */
    const presence = ({ authenticate, returnUrl: own }: ChargeRequest) => {
      const back = own ?? returnUrl
      return { three_d_secure_mode: authenticate ? 'mandatory' : 'optional', ...(back.startsWith('https:') ? { callback_url: back } : {}) }
    }
    /** A saved card is charged by a token made for this one payment. */
    const source = async ({ token }: ChargeRequest) => {
      const [customer = '', card, brand] = token.split('/')
      if (card === undefined) return { token }
      const made = await new CardToken(config()).create({ body: { customer_id: customer, card_id: card } })
      if (!made.id) throw new Error('the answer has no card token')
      return { token: made.id, payer: { type: 'customer', id: customer }, ...(brand ? { payment_method_id: brand } : {}) }
    }

    const psp: Psp = {
      idempotencyMs: IDEMPOTENCY_MS,
      charge: async (order) => {
        const amount = toDecimal(order.amountMinor, order.currency, countedBy.mercadopago)
        if (amount === undefined) return inexpressible
        let from: Awaited<ReturnType<typeof source>>
        try {
          from = await source(order)
        } catch (error) {
          const failure = toFailure(error)
          // Nothing was asked for yet, whatever went wrong with the token.
          return failure.status === 'declined' ? failure : { status: 'not_sent', pspCode: mercadopagoCodeOf(error) }
        }
        const body = {
          transaction_amount: Number(amount),
          installments: 1,
          external_reference: order.reference,
          capture: order.capture === 'automatic',
          ...from,
          ...(order.description ? { description: order.description } : {}),
          ...(order.offSession ? {} : presence(order)),
        }
        try {
          const answer = await new Payment(config(order.reference)).create({ body: body as never })
          return toOutcome(answer as MercadopagoPayment)
        } catch (error) {
          return toFailure(error)
        }
      },
      inquire: async (charge) => {
        return orUnknown(mercadopagoCodeOf, async () => {
          const found = await find(charge)
          return found ? toOutcome(found) : { status: 'not_found' }
        })
      },
      complete: (charge) => completeByInquiry(psp, charge),
      capture: (reference, charge) =>
        onPayment(
          charge,
          (id) => new Payment(config(reference)).capture({ id }),
          (error) => askWhatBecame(psp, charge, mercadopagoCodeOf(error), refusalOf(error)),
        ),
      release: (reference, charge) =>
        onPayment(
          charge,
          (id) => new Payment(config(reference)).cancel({ id }),
          (error) => askWhatBecame(psp, charge, mercadopagoCodeOf(error)),
        ),
      cancel: async (reference, charge) => {
        const cancel = (id: string) => new Payment(config(reference)).cancel({ id })
        return givenUp(await onPayment(charge, cancel, (error) => askAfterCancel(psp, charge, mercadopagoCodeOf(error))))
      },
      refund: async ({ reference, charge, amountMinor }) => {
        const amount = toDecimal(amountMinor, charge.currency, countedBy.mercadopago)
        if (amount === undefined) return { status: 'failed', pspCode: 'amount_not_expressible' }
        if (!charge.pspReference) return { status: 'unknown', pspCode: 'no_psp_reference' }
        try {
          const refund = await new PaymentRefund(config(reference)).create({ payment_id: charge.pspReference, body: { amount: Number(amount) } })
          return refund.id === undefined ? { status: 'unknown', pspCode: 'malformed_answer' } : toRefundOutcome(refund.status)
        } catch (error) {
          const isAnswer = error instanceof MercadoPagoError && (error.status === 400 || error.status === 422)
          return { status: isAnswer ? 'failed' : 'unknown', pspCode: mercadopagoCodeOf(error) }
        }
      },
      // Its refunds carry nothing of ours.
      inquireRefund: async () => ({ status: 'cannot_tell' }),
      webhooks: {
        byHand:
          'MercadoPago has no API for webhooks. In Your integrations, open the application and its Webhooks, and enter our URL with the event Payments. Then PATCH this account with the secret signature as webhookSecret.',
      },
      verifyWebhook: async ({ headers, query, rawBody }) => {
        try {
          if (!webhookSecret) throw new Error('the account has no webhookSecret')
          const dataId = query['data.id'] ?? dataIdOf(rawBody)
          WebhookSignatureValidator.validate({
            xSignature: headers['x-signature'],
            xRequestId: headers['x-request-id'],
            // https://www.mercadopago.com/developers/en/docs/your-integrations/notifications/webhooks: in lower case.
            dataId: dataId?.toLowerCase(),
            secret: webhookSecret.reveal(),
          })
          const ageMs = Math.abs(deps.clock.nowMs() - signedAtMs(headers['x-signature'] ?? ''))
          if (!(ageMs <= WEBHOOK_TOLERANCE_S * 1000)) throw new Error('the event is too old')
          if (dataId !== dataIdOf(rawBody)) throw new Error('the signature belongs to another payment')
        } catch (error) {
          const why = error instanceof InvalidWebhookSignatureError ? error.reason : 'see the log'
          throw new AppError('signature_invalid', `the x-signature does not verify, or is older than 5 minutes (${why})`, [], { cause: error })
        }
      },
      readEvents: ({ rawBody }) => {
        const parsed = event.safeParse(JSON.parse(rawBody))
        if (!parsed.success) throw new AppError('invalid_request', 'the body is not a MercadoPago webhook')
        return [toEvent(parsed.data as MercadopagoEvent)]
      },
      lookUp: async (pspReference) => {
        try {
          const found = await find({ reference: '', pspReference, amountMinor: 0, currency: '' })
          return found && toFoundCharge(found)
        } catch (error) {
          // An event about a payment that it does not have is about none of ours.
          if (error instanceof MercadoPagoError && error.status === 404) return undefined
          throw error
        }
      },
    }
    return psp
  },
})

/** Seconds or milliseconds: MercadoPago has sent both. */
const signedAtMs = (signature: string): number => {
  const ts = Number(/(?:^|,)\s*ts=(\d+)/.exec(signature)?.[1])
  return ts > 1e11 ? ts : ts * 1000
}

const dataIdOf = (rawBody: string): string | undefined => {
  const id = (JSON.parse(rawBody) as { data?: { id?: unknown } }).data?.id
  return id === undefined ? undefined : String(id)
}
