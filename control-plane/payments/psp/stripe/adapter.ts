/**
 * Stripe, by payment intents, on its own library. An account's credentials are `secretKey`; its webhook secret is the
 * endpoint's `whsec_…`. A token is a payment method (`pm_…`), or `cus_…/pm_…` for one that belongs to a customer of
 * Stripe's, which is what renewals need.
 *
 * https://docs.stripe.com/api/payment_intents, https://docs.stripe.com/api/refunds, https://docs.stripe.com/webhooks,
 * https://docs.stripe.com/api/idempotent_requests (keys are kept for at least 24 hours).
 */

import Stripe from 'stripe'
import type { Clock } from '../../../../common/clock.ts'
import { HOUR_MS } from '../../../../common/durations.ts'
import { AppError } from '../../../../common/errors.ts'
import { toSecret } from '../../../../common/secret.ts'
import { z } from '../../../../common/zod.ts'
import { createOutgoingTransport } from '../../../outgoing-http.ts'
import { askAfterCancel, askAfterRefund, askWhatBecame, givenUp, type Refusal, refusalIn } from '../ask-after-failure.ts'
import { networkNamed } from '../card-networks.ts'
import { completeByInquiry } from '../complete-by-inquiry.ts'
import { countedBy } from '../counted-currencies.ts'
import { inexpressible, toPspUnits } from '../currency-exponents.ts'
import type { PspProvider } from '../directory.ts'
import { orUnknown } from '../or-unknown.ts'
import type { ChargeName, ChargeOutcome, ChargeRequest, Psp } from '../psp.ts'
import { transportFailure } from '../transport-errors.ts'
import { webhookRefusal } from '../webhook-refusal.ts'
import { classOf, REFERENCE, stripeEvents, toEvent, toOutcome, toRefundOutcome } from './mapping.ts'

const credentials = z.strictObject({ secretKey: z.string('is required: the secret key of the Stripe account').min(1).transform(toSecret) })

const IDEMPOTENCY_MS = 24 * HOUR_MS
/** https://docs.stripe.com/webhooks#replay-attacks */
const WEBHOOK_TOLERANCE_S = 300

const { errors } = Stripe

const intentOf = (error: InstanceType<typeof errors.StripeError>): string | undefined => error.payment_intent?.id

/** The outcome of a call that Stripe, or the way to it, answered with an error. */
const toFailure = (error: unknown): ChargeOutcome => {
  if (!(error instanceof errors.StripeError)) return transportFailure(error)
  if (error instanceof errors.StripeConnectionError) return transportFailure(error)
  const pspReference = intentOf(error)
  const known = pspReference === undefined ? {} : { pspReference }
  const pspCode = error.decline_code ?? error.code ?? (error.statusCode && error.statusCode >= 400 ? `http_${error.statusCode}` : 'malformed_answer')
  if (error instanceof errors.StripeCardError) {
    return { status: 'declined', declineClass: classOf(error), pspCode, ...known, ...networkNamed(error.payment_method?.card?.brand) }
  }
  // The same key with another request, or while the first is still running: there is an earlier one, and it counts.
  if (error instanceof errors.StripeIdempotencyError || error.statusCode === 409) return { status: 'unknown', pspCode }
  if (error instanceof errors.StripeRateLimitError) return { status: 'declined', declineClass: 'technical', pspCode }
  if (error instanceof errors.StripeAuthenticationError || error instanceof errors.StripePermissionError)
    return { status: 'declined', declineClass: 'config', pspCode, credentialsRefused: true }
  if (error instanceof errors.StripeInvalidRequestError) {
    const declineClass = error.code ? classOf({ code: error.code }) : 'config'
    // An invalid request is our mistake or the account's, not an issuer's word.
    return { status: 'declined', declineClass: declineClass === 'issuer_soft' ? 'config' : declineClass, pspCode, ...known }
  }
  return { status: 'unknown', pspCode }
}

const tokenParts = (token: string): { payment_method: string; customer?: string } => {
  const [customer = '', method] = token.split('/')
  return method === undefined ? { payment_method: token } : { payment_method: method, customer }
}

export const stripeProvider = (deps: { clock: Clock; baseUrl: string | undefined }): PspProvider<z.infer<typeof credentials>> => ({
  credentials,
  webhookProblem: (_, secret) => (secret?.reveal().startsWith('whsec_') ? undefined : "webhookSecret must be the endpoint's whsec_…"),
  create: ({ credentials: { secretKey }, webhookSecret, returnUrl, timeoutMs }): Psp => {
    const { fetch } = createOutgoingTransport({ timeoutMs, baseUrl: deps.baseUrl })
    const stripe = new Stripe(secretKey.reveal(), {
      httpClient: Stripe.createFetchHttpClient(fetch as typeof globalThis.fetch),
      // Retries are ours to decide: each is stored first.
      maxNetworkRetries: 0,
      timeout: timeoutMs,
      telemetry: false,
    })

    const find = async ({ reference, pspReference }: ChargeName): Promise<Stripe.PaymentIntent | undefined> => {
      if (pspReference) return stripe.paymentIntents.retrieve(pspReference)
      // The index is a minute behind; until then the charge is not found, and is sent again under the same key.
      const found = await stripe.paymentIntents.search({ query: `metadata['${REFERENCE}']:'${reference}'`, limit: 1 })
      return found.data[0]
    }
    const onIntent = async (
      charge: ChargeName,
      act: (id: string) => Promise<Stripe.PaymentIntent>,
      otherwise: (error: unknown) => Promise<ChargeOutcome>,
    ): Promise<ChargeOutcome> => {
      try {
        const id = charge.pspReference ?? (await find(charge))?.id
        return id ? toOutcome(await act(id)) : { status: 'unknown', pspCode: 'not_found' }
      } catch (error) {
        return otherwise(error)
      }
    }

    /** https://docs.stripe.com/api/webhook_endpoints: an account has at most 16. */
    const endpointsAt = async (url: string): Promise<Stripe.WebhookEndpoint[]> =>
      (await stripe.webhookEndpoints.list({ limit: 100 })).data.filter((endpoint) => endpoint.url === url)

    const psp: Psp = {
      idempotencyMs: IDEMPOTENCY_MS,
      charge: async (request: ChargeRequest) => {
        const amount = toPspUnits(request.amountMinor, request.currency, countedBy.stripe)
        if (amount === undefined) return inexpressible
        try {
          const intent = await stripe.paymentIntents.create(
            {
              amount,
              currency: request.currency.toLowerCase(),
              ...tokenParts(request.token),
              confirm: true,
              capture_method: request.capture === 'separate' ? 'manual' : 'automatic',
              metadata: { [REFERENCE]: request.reference },
              ...(request.description ? { description: request.description } : {}),
              ...(request.offSession
                ? { off_session: true, automatic_payment_methods: { enabled: true, allow_redirects: 'never' as const } }
                : {
                    automatic_payment_methods: { enabled: true },
                    return_url: request.returnUrl ?? returnUrl,
                    // https://docs.stripe.com/payments/3d-secure/authentication-flow#manual-three-ds
                    ...(request.authenticate ? { payment_method_options: { card: { request_three_d_secure: 'any' as const } } } : {}),
                  }),
            },
            { idempotencyKey: request.reference },
          )
          return intent.id ? toOutcome(intent) : { status: 'unknown', pspCode: 'malformed_answer' }
        } catch (error) {
          return toFailure(error)
        }
      },
      inquire: async (charge) => {
        // Not even asked is not an answer about the charge.
        return orUnknown(stripeCodeOf, async () => {
          const found = await find(charge)
          return found ? toOutcome(found) : { status: 'not_found' }
        })
      },
      complete: (charge) => completeByInquiry(psp, charge),
      capture: (reference, charge) =>
        onIntent(
          charge,
          (id) => stripe.paymentIntents.capture(id, {}, { idempotencyKey: reference }),
          (error) => askWhatBecame(psp, charge, stripeCodeOf(error), refusalOf(error)),
        ),
      release: (reference, charge) =>
        onIntent(
          charge,
          (id) => stripe.paymentIntents.cancel(id, {}, { idempotencyKey: reference }),
          (error) => askWhatBecame(psp, charge, stripeCodeOf(error)),
        ),
      cancel: async (reference, charge) => {
        const cancel = (id: string) => stripe.paymentIntents.cancel(id, { cancellation_reason: 'abandoned' }, { idempotencyKey: reference })
        return givenUp(await onIntent(charge, cancel, (error) => askAfterCancel(psp, charge, stripeCodeOf(error))))
      },
      refund: async (request) => {
        const { reference, charge, amountMinor } = request
        try {
          const intent = charge.pspReference ?? (await find(charge))?.id
          if (!intent) return { status: 'unknown', pspCode: 'charge_not_found' }
          const amount = toPspUnits(amountMinor, charge.currency, countedBy.stripe)
          if (amount === undefined) return { status: 'failed', pspCode: 'amount_not_expressible' }
          const refund = await stripe.refunds.create({ payment_intent: intent, amount, metadata: { [REFERENCE]: reference } }, { idempotencyKey: reference })
          return toRefundOutcome(refund)
        } catch (error) {
          // Only what Stripe says of the refund itself is final; its own failures and ours are not.
          const isAnswer = error instanceof errors.StripeInvalidRequestError && error.statusCode === 400
          return isAnswer ? askAfterRefund(psp, request, stripeCodeOf(error)) : { status: 'unknown', pspCode: stripeCodeOf(error) }
        }
      },
      inquireRefund: async ({ reference, charge }) => {
        return orUnknown(stripeCodeOf, async () => {
          if (!charge.pspReference) return { status: 'cannot_tell' }
          const refunds = await stripe.refunds.list({ payment_intent: charge.pspReference, limit: 100 })
          const found = refunds.data.find(({ metadata }) => metadata?.[REFERENCE] === reference)
          return found ? toRefundOutcome(found) : { status: 'not_found' }
        })
      },
      // Stripe shows a secret once, when it makes the endpoint: one whose secret is not known is replaced, and removed afterwards.
      webhooks: {
        register: (url, known) =>
          orRefused(async () => {
            const own = (await endpointsAt(url)).find(({ id }) => id === known)
            if (own) {
              await stripe.webhookEndpoints.update(own.id, { enabled_events: stripeEvents, disabled: false })
              return { id: own.id, events: stripeEvents }
            }
            const made = await stripe.webhookEndpoints.create({
              url,
              enabled_events: stripeEvents,
              // Events in the form that the library knows, whatever is the account's default.
              api_version: Stripe.API_VERSION,
              description: 'Tollgate',
            })
            if (!made.id || !made.secret) throw new Error('the answer has no secret')
            return { id: made.id, events: stripeEvents, secrets: { webhookSecret: toSecret(made.secret) } }
          }),
        removeOthers: (url, id) =>
          orRefused(async () => {
            const others = (await endpointsAt(url)).filter((endpoint) => endpoint.id !== id)
            for (const other of others) await orMissing(stripe.webhookEndpoints.del(other.id))
          }),
      },
      verifyWebhook: async ({ headers, rawBody }) => {
        try {
          if (!webhookSecret) throw new Error('the account has no webhookSecret')
          const signature = headers['stripe-signature'] ?? ''
          await stripe.webhooks.constructEventAsync(rawBody, signature, webhookSecret.reveal(), WEBHOOK_TOLERANCE_S)
          // The library looks at the past alone.
          const signedS = Number(/(?:^|,)t=(\d+)/.exec(signature)?.[1])
          if (signedS > deps.clock.nowMs() / 1_000 + WEBHOOK_TOLERANCE_S) throw new Error("the signature's time is in the future")
        } catch (error) {
          throw new AppError('signature_invalid', 'the Stripe-Signature does not verify, or is older than 5 minutes', [], { cause: error })
        }
      },
      readEvents: ({ rawBody }) => {
        const event = JSON.parse(rawBody) as Stripe.Event
        if (event.object !== 'event' || typeof event.id !== 'string' || typeof event.type !== 'string' || typeof event.data?.object !== 'object')
          throw new AppError('invalid_request', 'the body is not a Stripe event')
        return [toEvent(event)]
      },
      lookUp: async (pspReference) => {
        const intent = await orMissing(stripe.paymentIntents.retrieve(pspReference))
        const reference = intent?.metadata?.[REFERENCE]
        return intent && reference ? { reference, outcome: toOutcome(intent) } : undefined
      },
    }
    return psp
  },
})

const orRefused = async <T>(work: () => Promise<T>): Promise<T> => {
  try {
    return await work()
  } catch (error) {
    const answer = error instanceof errors.StripeError ? error : undefined
    throw webhookRefusal({
      provider: 'Stripe',
      status: answer?.statusCode,
      words: answer?.message,
      permission: 'give the restricted key write access to Webhook Endpoints',
      ...(/maximum/i.test(answer?.message ?? '') ? { full: 'remove one of its 16 endpoints under Developers, Webhooks, and call this again' } : {}),
      cause: error,
    })
  }
}

/** Undefined for what Stripe does not have. */
const orMissing = <T>(asked: Promise<T>): Promise<T | undefined> =>
  asked.catch((error: unknown) => {
    if (error instanceof errors.StripeError && error.statusCode === 404) return undefined
    throw error
  })

const refusalOf = (error: unknown): Refusal | undefined => refusalIn(toFailure(error), error instanceof errors.StripeError ? error.statusCode : undefined)

const stripeCodeOf = (error: unknown): string => {
  const failure = toFailure(error)
  return 'pspCode' in failure ? failure.pspCode : 'no_answer'
}
