/**
 * PayPal, by orders, on its own library. An account's credentials are `clientId`, `clientSecret`, `webhookId`, and for
 * live accounts `environment: live`. A token is a vaulted payment method: `<vault id>` of a PayPal wallet, or
 * `card/<vault id>`.
 *
 * https://developer.paypal.com/docs/api/orders/v2/, https://developer.paypal.com/docs/api/payments/v2/. PayPal answers
 * a repeated PayPal-Request-Id with the first one's outcome for 6 hours, and refuses a second payment of an invoice id
 * for good. It cannot be asked about an order by our reference.
 */

import { ApiError, CheckoutPaymentIntent, Client, Environment, OrdersController, PatchOp, PaymentsController } from '@paypal/paypal-server-sdk'
import type { Clock } from '../../../../common/clock.ts'
import { HOUR_MS } from '../../../../common/durations.ts'
import { AppError, isAppError } from '../../../../common/errors.ts'
import { toSecret } from '../../../../common/secret.ts'
import { z } from '../../../../common/zod.ts'
import { createOutgoingTransport } from '../../../outgoing-http.ts'
import { askAfterCancel, askAfterRefund, askWhatBecame, type Refusal, refusalIn } from '../ask-after-failure.ts'
import { completeByInquiry } from '../complete-by-inquiry.ts'
import { countedBy } from '../counted-currencies.ts'
import { inexpressible, toDecimal } from '../currency-exponents.ts'
import type { PspProvider } from '../directory.ts'
import { HttpStatusError } from '../http-status-error.ts'
import { orUnknown } from '../or-unknown.ts'
import type { ChargeName, ChargeOutcome, ChargeRequest, Psp } from '../psp.ts'
import { credentialsRefusedBy, transportFailure } from '../transport-errors.ts'
import { webhookRefusal } from '../webhook-refusal.ts'
import {
  ALREADY_PAID,
  CANCELED_CUSTOM_ID,
  isGivenUp,
  isReadEvent,
  type PaypalEvent,
  type PaypalOrder,
  paypalIssues,
  toEvent,
  toOutcome,
  toRefundOutcome,
} from './mapping.ts'
import { verifyPaypalSignature } from './webhook-signature.ts'

const credentials = z.strictObject({
  clientId: z.string('is required: the client id of the REST app').min(1),
  clientSecret: z.string('is required: the secret of the REST app').min(1).transform(toSecret),
  webhookId: z.string('must be the id of the webhook, from the dashboard').min(1).optional(),
  environment: z.enum(['sandbox', 'live']).default('sandbox'),
})

const IDEMPOTENCY_MS = 6 * HOUR_MS
const WHOLE = 'return=representation'

const errorBody = z.object({ name: z.string().optional(), details: z.array(z.object({ issue: z.string() })).optional() })

const paypalCodeOf = (error: unknown): string => {
  if (!(error instanceof ApiError)) return transportFailure(error).pspCode
  const body = errorBody.safeParse(parse(error.body)).data
  return body?.details?.[0]?.issue ?? body?.name ?? `http_${error.statusCode}`
}

const parse = (body: unknown): unknown => {
  if (typeof body !== 'string') return undefined
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}

/** The outcome of a call that PayPal, or the way to it, answered with an error. */
const toFailure = (error: unknown): ChargeOutcome => {
  if (!(error instanceof ApiError)) return transportFailure(error)
  const pspCode = paypalCodeOf(error)
  if (ALREADY_PAID.includes(pspCode) || error.statusCode === 409) return { status: 'unknown', pspCode }
  if (error.statusCode === 429) return { status: 'declined', declineClass: 'technical', pspCode }
  if (error.statusCode === 422) return { status: 'declined', declineClass: paypalIssues[pspCode] ?? 'config', pspCode }
  if (error.statusCode >= 400 && error.statusCode < 500)
    return { status: 'declined', declineClass: 'config', pspCode, ...credentialsRefusedBy(error.statusCode) }
  return { status: 'unknown', pspCode }
}

const refusalOf = (error: unknown): Refusal | undefined => refusalIn(toFailure(error), error instanceof ApiError ? error.statusCode : undefined)

const eventTypes = z.object({ event_types: z.array(z.object({ name: z.string(), status: z.string().optional() })) })
const paypalWebhook = eventTypes.extend({ id: z.string().min(1), url: z.string() })

/** Without those that PayPal no longer offers. */
const namesOf = ({ event_types: types }: z.output<typeof eventTypes>): string[] =>
  types.filter(({ status }) => status === undefined || status === 'ENABLED').map(({ name }) => name)

const webhookError = z.object({
  name: z.string().optional(),
  message: z.string().optional(),
  details: z.array(z.object({ issue: z.string().optional() })).optional(),
})

const orRefused = async <T>(work: () => Promise<T>): Promise<T> => {
  try {
    return await work()
  } catch (error) {
    const status = error instanceof HttpStatusError ? error.status : error instanceof ApiError ? error.statusCode : undefined
    const { name, message, details } = webhookError.safeParse(error instanceof HttpStatusError ? error.body : undefined).data ?? {}
    throw webhookRefusal({
      provider: 'PayPal',
      status,
      words: [name, message, ...(details ?? []).map(({ issue }) => issue)].filter(Boolean).join('; '),
      permission: "use the client id and secret of the REST app that the webhook belongs to, from PayPal's dashboard",
      ...(name === 'WEBHOOK_NUMBER_LIMIT_EXCEEDED' ? { full: "remove one of the app's ten webhooks in PayPal's dashboard, and call this again" } : {}),
      cause: error,
    })
  }
}

const event = z.object({ id: z.string().min(1), event_type: z.string().min(1), resource: z.looseObject({}) })

/** The library speaks through axios; this gives axios our HTTP, so that all adapters fail alike. */
const axiosAdapter =
  (fetch: ReturnType<typeof createOutgoingTransport>['fetch'], onUnauthorized: () => void) =>
  async (config: { url: string; method?: string; headers: object; data?: string; auth?: unknown }) => {
    const answer = await fetch(config.url, {
      method: (config.method ?? 'get').toUpperCase(),
      headers: Object.fromEntries(Object.entries(config.headers).map(([name, value]) => [name, String(value)])),
      ...(config.data === undefined ? {} : { body: config.data }),
    })
    if (answer.status === 401) onUnauthorized()
    return {
      data: await answer.text(),
      status: answer.status,
      statusText: answer.statusText,
      headers: Object.fromEntries(answer.headers),
      config,
      request: undefined,
    }
  }

export const paypalProvider = (deps: { clock: Clock; baseUrl: string | undefined }): PspProvider<z.infer<typeof credentials>> => ({
  credentials,
  webhookProblem: ({ webhookId }) => (webhookId ? undefined : 'credentials.webhookId is required: the id of the webhook, from the dashboard'),
  create: ({ credentials: account, returnUrl, timeoutMs }): Psp => {
    const transport = createOutgoingTransport({ timeoutMs, baseUrl: deps.baseUrl })
    const client = new Client({
      clientCredentialsAuthCredentials: { oAuthClientId: account.clientId, oAuthClientSecret: account.clientSecret.reveal() },
      environment: account.environment === 'live' ? Environment.Production : Environment.Sandbox,
      timeout: timeoutMs,
      unstable_httpClientOptions: {
        adapter: axiosAdapter(transport.fetch, () => {
          // An access token that PayPal has taken back is not used again.
          token = undefined
        }),
      },
    })
    const orders = new OrdersController(client)
    const payments = new PaymentsController(client)

    type Token = Awaited<ReturnType<typeof client.clientCredentialsAuthManager.fetchToken>>
    let token: Token | undefined
    /** Fetched before the call that needs it: what fails here has charged nobody. */
    const authorize = async (): Promise<void> => {
      token = await client.clientCredentialsAuthManager.updateToken(token)
    }
    const authorized = (): { ordersApi: OrdersController; paymentsApi: PaymentsController } => {
      if (!token) return { ordersApi: orders, paymentsApi: payments }
      const { oAuthClientId, oAuthClientSecret } = { oAuthClientId: account.clientId, oAuthClientSecret: account.clientSecret.reveal() }
      const withToken = client.withConfiguration({ clientCredentialsAuthCredentials: { oAuthClientId, oAuthClientSecret, oAuthToken: token } })
      return { ordersApi: new OrdersController(withToken), paymentsApi: new PaymentsController(withToken) }
    }
    /** One set of controllers per token. */
    let current: { token: Token | undefined; apis: ReturnType<typeof authorized> } | undefined
    const apis = async () => {
      await authorize()
      if (current?.token !== token || !current) current = { token, apis: authorized() }
      return current.apis
    }

    /** The library has nothing for webhooks: https://developer.paypal.com/api/webhooks/v1/. */
    const notifications = async <T extends z.ZodType>(method: string, path: string, answerSchema: T, body?: object): Promise<z.output<T>> => {
      await authorize()
      const host = account.environment === 'live' ? 'https://api-m.paypal.com' : 'https://api-m.sandbox.paypal.com'
      const answer = await transport.fetch(`${host}/v1/notifications/${path}`, {
        method,
        headers: { authorization: `Bearer ${token?.accessToken}`, 'content-type': 'application/json' },
        ...(body ? { body: JSON.stringify(body) } : {}),
      })
      if (answer.status === 401) token = undefined
      const parsed = parse(await answer.text())
      if (!answer.ok) throw new HttpStatusError(answer.status, parsed)
      return answerSchema.parse(parsed)
    }

    const read = async (id: string): Promise<PaypalOrder> => {
      const { ordersApi } = await apis()
      return (await ordersApi.getOrder({ id })).result as PaypalOrder
    }
    /** The customer has said yes, and the money has not been taken: it is taken, or held, now. */
    const take = async (id: string, intent: string | undefined): Promise<ChargeOutcome> => {
      const { ordersApi } = await apis()
      try {
        const { result } =
          intent === CheckoutPaymentIntent.Authorize
            ? await ordersApi.authorizeOrder({ id, paypalRequestId: `${id}-authorize`, prefer: WHOLE })
            : await ordersApi.captureOrder({ id, paypalRequestId: `${id}-capture`, prefer: WHOLE })
        return toOutcome(result as PaypalOrder)
      } catch (error) {
        // Only what PayPal says of the payment; that it does not let us in says nothing of it.
        const refusal = error instanceof ApiError && error.statusCode === 422 ? refusalOf(error) : undefined
        if (refusal) return { ...refusal, pspReference: id }
        // Somebody else has just taken it, or it is not known what happened.
        const order = await read(id)
        return order.status === 'APPROVED' ? { status: 'unknown', pspCode: paypalCodeOf(error) } : toOutcome(order)
      }
    }
    const look = async (order: PaypalOrder): Promise<ChargeOutcome> =>
      // What has been given up stays so.
      order.id && order.status === 'APPROVED' && !isGivenUp(order) ? take(order.id, order.intent) : toOutcome(order)

    const onAuthorization = async (
      charge: ChargeName,
      act: (authorizationId: string) => Promise<ChargeOutcome>,
      otherwise: (error: unknown) => Promise<ChargeOutcome>,
    ): Promise<ChargeOutcome> => {
      const unknown = (pspCode: string): ChargeOutcome => ({ status: 'unknown', pspCode })
      if (!charge.pspReference) return unknown('no_psp_reference')
      let order: PaypalOrder
      try {
        order = await read(charge.pspReference)
      } catch (error) {
        return unknown(paypalCodeOf(error))
      }
      const authorization = order.purchaseUnits?.[0]?.payments?.authorizations?.[0]
      if (!authorization?.id || authorization.status !== 'CREATED') return toOutcome(order)
      try {
        return await act(authorization.id)
      } catch (error) {
        return otherwise(error)
      }
    }
    const source = (order: ChargeRequest) => {
      const [kind, id] = order.token.includes('/') ? order.token.split('/') : ['paypal', order.token]
      const initiator = order.offSession ? 'MERCHANT' : 'CUSTOMER'
      const back = order.returnUrl ?? returnUrl
      const present = order.offSession ? {} : { experienceContext: { returnUrl: back, cancelUrl: back } }
      if (kind === 'card') {
        const storedCredential = { paymentInitiator: initiator, paymentType: order.offSession ? 'RECURRING' : 'ONE_TIME', usage: 'SUBSEQUENT' }
        // https://developer.paypal.com/docs/checkout/advanced/customize/3d-secure/: always, not only where the law asks for it.
        const attributes = order.authenticate && !order.offSession ? { attributes: { verification: { method: 'SCA_ALWAYS' } } } : {}
        return { card: { vaultId: id, storedCredential, ...present, ...attributes } }
      }
      // Who pays from a wallet is asked by PayPal itself, whenever it wants to be sure.
      return { paypal: { vaultId: id, storedCredential: { paymentInitiator: initiator, usage: 'SUBSEQUENT' }, ...present } }
    }

    const psp: Psp = {
      idempotencyMs: IDEMPOTENCY_MS,
      charge: async (order) => {
        const value = toDecimal(order.amountMinor, order.currency, countedBy.paypal)
        if (value === undefined) return inexpressible
        let api: OrdersController
        try {
          api = (await apis()).ordersApi
        } catch (error) {
          const refused = credentialsRefusedBy(error instanceof ApiError ? error.statusCode : 0)
          if (refused.credentialsRefused) return { status: 'declined', declineClass: 'config', pspCode: paypalCodeOf(error), ...refused }
          // Without an access token nothing was asked for.
          return { status: 'not_sent', pspCode: paypalCodeOf(error) }
        }
        const body = {
          intent: order.capture === 'separate' ? CheckoutPaymentIntent.Authorize : CheckoutPaymentIntent.Capture,
          purchaseUnits: [
            {
              referenceId: order.reference,
              customId: order.reference,
              invoiceId: order.reference,
              amount: { currencyCode: order.currency, value },
              ...(order.description ? { description: order.description.slice(0, 127) } : {}),
            },
          ],
          paymentSource: source(order),
        }
        try {
          const answer = await api.createOrder({ body: body as never, paypalRequestId: order.reference, prefer: WHOLE })
          return toOutcome(answer.result as PaypalOrder)
        } catch (error) {
          return toFailure(error)
        }
      },
      inquire: async ({ pspReference }) => {
        if (!pspReference) return { status: 'cannot_tell' }
        return orUnknown(paypalCodeOf, async () => {
          return await look(await read(pspReference))
        })
      },
      complete: (charge) => completeByInquiry(psp, charge),
      capture: (reference, charge) =>
        onAuthorization(
          charge,
          async (authorizationId) => {
            const { paymentsApi } = await apis()
            const answer = await paymentsApi.captureAuthorizedPayment({
              authorizationId,
              paypalRequestId: reference,
              prefer: WHOLE,
              body: { invoiceId: charge.reference, finalCapture: true },
            })
            return toOutcome({ id: charge.pspReference ?? '', purchaseUnits: [{ payments: { captures: [answer.result as never] } }] })
          },
          (error) => askWhatBecame(psp, charge, paypalCodeOf(error), refusalOf(error)),
        ),
      release: (reference, charge) =>
        onAuthorization(
          charge,
          async (authorizationId) => {
            const { paymentsApi } = await apis()
            await paymentsApi.voidPayment({ authorizationId, paypalRequestId: reference })
            return { status: 'declined', declineClass: 'technical', pspCode: 'released', ...(charge.pspReference ? { pspReference: charge.pspReference } : {}) }
          },
          (error) => askWhatBecame(psp, charge, paypalCodeOf(error)),
        ),
      /**
       * PayPal has no call that cancels an order. An order takes no money until it is captured, and nobody but this
       * adapter captures it: so it is marked, where every later look at it sees the mark, and is never captured then.
       */
      cancel: async (_, charge) => {
        const { pspReference: id } = charge
        if (!id) return { status: 'unknown', pspCode: 'no_psp_reference' }
        try {
          const order = await read(id)
          if (!isGivenUp(order)) {
            const { ordersApi } = await apis()
            const path = `/purchase_units/@reference_id=='${charge.reference}'/custom_id`
            await ordersApi.patchOrder({ id, body: [{ op: PatchOp.Replace, path, value: CANCELED_CUSTOM_ID }] })
          }
        } catch (error) {
          return askAfterCancel(psp, charge, paypalCodeOf(error))
        }
        // Whoever captured it before the mark was there was faster.
        return askAfterCancel(psp, charge, 'not_marked')
      },
      refund: async (request) => {
        const { reference, charge, amountMinor } = request
        const value = toDecimal(amountMinor, charge.currency, countedBy.paypal)
        if (value === undefined) return { status: 'failed', pspCode: 'amount_not_expressible' }
        try {
          if (!charge.pspReference) return { status: 'unknown', pspCode: 'no_psp_reference' }
          const captureId = (await read(charge.pspReference)).purchaseUnits?.[0]?.payments?.captures?.[0]?.id
          if (!captureId) return { status: 'unknown', pspCode: 'no_capture' }
          const { paymentsApi } = await apis()
          const body = { amount: { currencyCode: charge.currency, value }, invoiceId: reference, customId: reference }
          const answer = await paymentsApi.refundCapturedPayment({ captureId, paypalRequestId: reference, prefer: WHOLE, body })
          return toRefundOutcome(answer.result.status)
        } catch (error) {
          // An invoice id that is there already is that of this refund: then it has been made.
          const isAnswer = error instanceof ApiError && error.statusCode === 422
          return isAnswer ? askAfterRefund(psp, request, paypalCodeOf(error)) : { status: 'unknown', pspCode: paypalCodeOf(error) }
        }
      },
      inquireRefund: async ({ reference, charge: { pspReference } }) => {
        if (!pspReference) return { status: 'cannot_tell' }
        return orUnknown(paypalCodeOf, async () => {
          const refunds = (await read(pspReference)).purchaseUnits?.[0]?.payments?.refunds ?? []
          const found = refunds.find(({ invoiceId }) => invoiceId === reference)
          return found ? toRefundOutcome(found.status) : { status: 'not_found' }
        })
      },
      // PayPal's events are verified by the webhook's id, which can be read again, and there is one webhook per URL.
      webhooks: {
        register: (url) =>
          orRefused(async () => {
            const available = await notifications('GET', 'webhooks-event-types', eventTypes)
            const events = namesOf(available).filter(isReadEvent)
            const wanted = events.map((name) => ({ name }))
            const { webhooks } = await notifications('GET', 'webhooks', z.object({ webhooks: z.array(paypalWebhook) }))
            const found = webhooks.find((one) => one.url === url)
            const { id } = found ?? (await notifications('POST', 'webhooks', paypalWebhook, { url, event_types: wanted }))
            // PayPal refuses a change that changes nothing.
            if (found && namesOf(found).toSorted().join() !== events.toSorted().join())
              await notifications('PATCH', `webhooks/${encodeURIComponent(id)}`, paypalWebhook, [{ op: 'replace', path: '/event_types', value: wanted }])
            return { id, events, secrets: { credentials: { webhookId: toSecret(id) } } }
          }),
      },
      verifyWebhook: async ({ headers, rawBody }) => {
        try {
          if (!account.webhookId) throw new Error('the account has no credentials.webhookId')
          const trustedOrigin = deps.baseUrl === undefined ? undefined : new URL(deps.baseUrl).origin
          await verifyPaypalSignature({
            headers,
            rawBody,
            webhookId: account.webhookId,
            trustedOrigin,
            nowMs: deps.clock.nowMs(),
            transport: createOutgoingTransport({ timeoutMs }),
          })
        } catch (error) {
          if (isAppError(error, 'unavailable')) throw error
          throw new AppError('signature_invalid', "PayPal's signature does not verify", [], { cause: error })
        }
      },
      readEvents: ({ rawBody }) => {
        const parsed = event.safeParse(JSON.parse(rawBody))
        if (!parsed.success) throw new AppError('invalid_request', 'the body is not a PayPal event')
        return [toEvent(parsed.data as PaypalEvent)]
      },
      lookUp: async (pspReference) => {
        const order = await read(pspReference)
        const reference = order.purchaseUnits?.[0]?.invoiceId ?? order.purchaseUnits?.[0]?.customId
        return reference ? { reference, outcome: await look(order) } : undefined
      },
    }
    return psp
  },
})
