/**
 * Adyen, by its Checkout API, on its own library (with our HTTP underneath: its own wraps errors so that what never
 * left cannot be told from what was not answered). An account's credentials are `apiKey`, `merchantAccount`, and for
 * live accounts `environment: live` with `liveEndpointUrlPrefix`; its webhook secret is the HMAC key in hexadecimal.
 * A token is `<shopperReference>/<storedPaymentMethodId>`.
 *
 * Adyen cannot be asked about a payment by our reference: the same request under the same key brings the first one's
 * outcome (https://docs.adyen.com/development-resources/api-idempotency: for at least 7 days), and webhooks do.
 */

import type { Client as AdyenClient, EnvironmentEnum } from '@adyen/api-library'
import { DAY_MS } from '../../../../common/durations.ts'
import { AppError } from '../../../../common/errors.ts'
import { toSecret } from '../../../../common/secret.ts'
import { z } from '../../../../common/zod.ts'
import { createOutgoingTransport } from '../../../outgoing-http.ts'
import { type Refusal, refusalIn } from '../ask-after-failure.ts'
import { countedBy } from '../counted-currencies.ts'
import { inexpressible, toPspUnits } from '../currency-exponents.ts'
import type { PspProvider } from '../directory.ts'
import { HttpStatusError } from '../http-status-error.ts'
import { orUnknown } from '../or-unknown.ts'
import type { ChargeName, ChargeOutcome, ChargeRequest, Psp } from '../psp.ts'
import { credentialsRefusedBy, transportFailure } from '../transport-errors.ts'
import { webhookRefusal } from '../webhook-refusal.ts'
import { type AdyenNotification, type AdyenPayment, adyenErrorCodes, adyenEvents, CANCEL_SUFFIX, IN_PROGRESS, toEvent, toOutcome } from './mapping.ts'

const credentials = z
  .strictObject({
    apiKey: z.string('is required: the API key of the web service user').min(1).transform(toSecret),
    merchantAccount: z.string('is required: the name of the merchant account').min(1),
    environment: z.enum(['test', 'live']).default('test'),
    liveEndpointUrlPrefix: z.string().min(1).optional(),
  })
  .refine(({ environment, liveEndpointUrlPrefix }) => environment === 'test' || liveEndpointUrlPrefix, {
    message: 'is required for a live account',
    path: ['liveEndpointUrlPrefix'],
  })

const IDEMPOTENCY_MS = 7 * DAY_MS

/** The most that Adyen lists at once. */
const WEBHOOKS_PER_PAGE = 100
/** More webhooks than anybody has at one merchant account. */
const MAX_WEBHOOK_PAGES = 3

/** 0.9 s to load, so only when somebody has an account there. */
const loadLibrary = async () => (await import('@adyen/api-library')).default
type Library = Awaited<ReturnType<typeof loadLibrary>>

const errorBody = z.object({ errorCode: z.string().optional(), pspReference: z.string().optional() })

const adyenCodeOf = (error: unknown): string => {
  if (!(error instanceof HttpStatusError)) return transportFailure(error).pspCode
  return errorBody.safeParse(error.body).data?.errorCode ?? `http_${error.status}`
}

/** The Management API has its own form of errors: https://docs.adyen.com/development-resources/management-api-errors. */
const managementError = z.object({
  title: z.string().optional(),
  detail: z.string().optional(),
  invalidFields: z.array(z.object({ name: z.string().optional(), message: z.string().optional() })).optional(),
})

const orRefused = async <T>(work: () => Promise<T>): Promise<T> => {
  try {
    return await work()
  } catch (error) {
    const answer = error instanceof HttpStatusError ? error : undefined
    const { title, detail, invalidFields = [] } = managementError.safeParse(answer?.body).data ?? {}
    throw webhookRefusal({
      provider: 'Adyen',
      status: answer?.status,
      words: [detail ?? title, ...invalidFields.map(({ name, message }) => `${name}: ${message}`)].filter(Boolean).join('; '),
      permission: 'give the API credential the role "Management API—Webhooks read and write", and access to the merchant account',
      cause: error,
    })
  }
}

/** The outcome of a call that Adyen, or the way to it, answered with an error. */
const toFailure = (error: unknown): ChargeOutcome => {
  if (!(error instanceof HttpStatusError)) return transportFailure(error)
  const pspCode = adyenCodeOf(error)
  if (pspCode === IN_PROGRESS || error.status === 409) return { status: 'unknown', pspCode }
  if (error.status === 429) return { status: 'declined', declineClass: 'technical', pspCode }
  if (error.status >= 400 && error.status < 500)
    return { status: 'declined', declineClass: adyenErrorCodes[pspCode] ?? 'config', pspCode, ...credentialsRefusedBy(error.status) }
  return { status: 'unknown', pspCode }
}

/**
 * Since nobody can be asked, only what Adyen says of the capture itself is believed: a request that does not pass its
 * validation is taken back before anything happens. That a key is wrong says nothing of an earlier call under a right one.
 */
const captureRefusal = (error: unknown): Refusal | undefined =>
  error instanceof HttpStatusError && error.status === 422 ? refusalIn(toFailure(error), error.status) : undefined

/**
 * https://docs.adyen.com/online-payments/3d-secure/: of a customer who is there. The native flow needs Adyen's own page
 * elements; what can be handed to anybody is a URL, which is the redirect flow.
 */
const authenticationOf = ({ authenticate }: ChargeRequest) => ({
  ...(authenticate ? { attemptAuthentication: 'always' } : {}),
  threeDSRequestData: { nativeThreeDS: 'disabled' },
})

const notification = z.object({
  notificationItems: z.array(
    z.object({
      NotificationRequestItem: z.looseObject({
        eventCode: z.string(),
        success: z.union([z.string(), z.boolean()]).transform(String),
        pspReference: z.string(),
        merchantAccountCode: z.string(),
        amount: z.object({ value: z.number(), currency: z.string() }),
      }),
    }),
  ),
})

const readItems = (rawBody: string): AdyenNotification[] => {
  const parsed = notification.safeParse(JSON.parse(rawBody))
  if (!parsed.success) throw new AppError('invalid_request', 'the body is not an Adyen standard webhook')
  return parsed.data.notificationItems.map(({ NotificationRequestItem }) => NotificationRequestItem as unknown as AdyenNotification)
}

export const adyenProvider = (deps: { baseUrl: string | undefined }): PspProvider<z.infer<typeof credentials>> => ({
  credentials,
  webhookProblem: (_, secret) => (secret && /^([0-9a-fA-F]{2}){16,}$/.test(secret.reveal()) ? undefined : 'webhookSecret must be the HMAC key, in hexadecimal'),
  create: ({ credentials: account, webhookSecret, returnUrl, timeoutMs, capture }): Psp => {
    const separate = capture === 'separate'
    const { merchantAccount } = account
    const { fetch } = createOutgoingTransport({ timeoutMs, baseUrl: deps.baseUrl })

    const request = async (url: string, json: string | Buffer, method: string, headers: Record<string, string>): Promise<string> => {
      const answer = await fetch(url, {
        method,
        headers: { ...headers, 'content-type': 'application/json', 'x-api-key': account.apiKey.reveal() },
        ...(method === 'GET' ? {} : { body: json.toString() }),
      })
      const text = await answer.text()
      if (answer.ok) {
        JSON.parse(text)
        return text
      }
      let body: unknown
      try {
        body = JSON.parse(text)
      } catch {
        body = text
      }
      throw new HttpStatusError(answer.status, body)
    }

    let client: Promise<{ library: Library; client: AdyenClient }> | undefined
    const load = () => {
      client ??= loadLibrary().then((library) => ({
        library,
        client: new library.Client(
          {
            apiKey: account.apiKey.reveal(),
            environment: account.environment.toUpperCase() as EnvironmentEnum,
            ...(account.liveEndpointUrlPrefix ? { liveEndpointUrlPrefix: account.liveEndpointUrlPrefix } : {}),
          },
          {
            request: (endpoint, json, _config, _isApiKeyRequired, options) => {
              const query = new URLSearchParams(options?.params).toString()
              const url = query ? `${endpoint}?${query}` : endpoint
              return request(url, json, options?.method ?? 'POST', options?.idempotencyKey ? { 'idempotency-key': options.idempotencyKey } : {})
            },
          },
        ),
      }))
      return client
    }
    const checkout = async () => {
      const loaded = await load()
      return new loaded.library.CheckoutAPI(loaded.client)
    }
    const webhooksApi = async () => {
      const loaded = await load()
      return new loaded.library.ManagementAPI(loaded.client).WebhooksMerchantLevelApi
    }
    /** @param known preferred where several send to the same address. */
    const webhookAt = async (url: string, known: string | undefined) => {
      const api = await webhooksApi()
      const found: Awaited<ReturnType<typeof api.getWebhook>>[] = []
      for (let page = 1; page <= MAX_WEBHOOK_PAGES; page += 1) {
        const { data = [], pagesTotal } = await api.listAllWebhooks(merchantAccount, page, WEBHOOKS_PER_PAGE)
        found.push(...data.filter((one) => one.url === url && one.type === 'standard'))
        if (page >= pagesTotal) break
      }
      return found.find(({ id }) => id === known) ?? found[0]
    }
    /** Adyen only takes modifications in; their outcome follows by webhook, and cannot be asked for. */
    const modify = async (
      charge: ChargeName,
      act: (pspReference: string) => Promise<unknown>,
      refusalOf: (error: unknown) => Refusal | undefined = () => undefined,
    ): Promise<ChargeOutcome> => {
      const { pspReference } = charge
      if (!pspReference) return { status: 'unknown', pspCode: 'no_psp_reference' }
      try {
        await act(pspReference)
        return { status: 'pending', pspReference }
      } catch (error) {
        const refusal = refusalOf(error)
        return refusal ? { ...refusal, pspReference } : { status: 'unknown', pspCode: adyenCodeOf(error) }
      }
    }

    return {
      idempotencyMs: IDEMPOTENCY_MS,
      charge: async (order) => {
        const value = toPspUnits(order.amountMinor, order.currency, countedBy.adyen)
        if (value === undefined) return inexpressible
        const [shopperReference = '', storedPaymentMethodId = shopperReference] = order.token.split('/')
        const body = {
          merchantAccount,
          reference: order.reference,
          amount: { value, currency: order.currency },
          paymentMethod: { type: 'scheme', storedPaymentMethodId },
          shopperReference,
          shopperInteraction: order.offSession ? 'ContAuth' : 'Ecommerce',
          recurringProcessingModel: order.offSession ? 'Subscription' : 'CardOnFile',
          returnUrl: order.returnUrl ?? returnUrl,
          ...(order.offSession ? {} : { authenticationData: authenticationOf(order) }),
          ...(order.capture === 'separate' ? { additionalData: { manualCapture: 'true' } } : {}),
        }
        try {
          const { PaymentsApi } = await checkout()
          const answer = await PaymentsApi.payments(body as unknown as Parameters<typeof PaymentsApi.payments>[0], { idempotencyKey: order.reference })
          return toOutcome(answer as AdyenPayment, order.capture === 'separate')
        } catch (error) {
          return toFailure(error)
        }
      },
      inquire: async () => ({ status: 'cannot_tell' }),
      // Adyen only goes on once it is handed what it gave the customer to bring.
      complete: async (charge, details) => {
        // What somebody brought is refused, not the payment: it may have been made up, and the customer may still come.
        return orUnknown(adyenCodeOf, async () => {
          const { PaymentsApi } = await checkout()
          const answer = await PaymentsApi.paymentsDetails({ details } as Parameters<typeof PaymentsApi.paymentsDetails>[0])
          // What another payment's customer brought says nothing of this one.
          if (answer.merchantReference !== charge.reference) return { status: 'unknown', pspCode: 'details_of_another_payment' }
          return toOutcome(answer as AdyenPayment, separate)
        })
      },
      capture: (idempotencyKey, charge) =>
        modify(
          charge,
          async (pspReference) => {
            const value = toPspUnits(charge.amountMinor, charge.currency, countedBy.adyen)
            if (value === undefined) throw new HttpStatusError(422, { errorCode: inexpressible.pspCode })
            const { ModificationsApi } = await checkout()
            // Under the charge's own reference, which is what the webhook of the capture then names.
            const order = { merchantAccount, reference: charge.reference, amount: { value, currency: charge.currency } }
            return ModificationsApi.captureAuthorisedPayment(pspReference, order, { idempotencyKey })
          },
          captureRefusal,
        ),
      release: (idempotencyKey, charge) =>
        modify(charge, async (pspReference) => {
          const { ModificationsApi } = await checkout()
          return ModificationsApi.cancelAuthorisedPaymentByPspReference(pspReference, { merchantAccount, reference: charge.reference }, { idempotencyKey })
        }),
      /**
       * Adyen cancels what is authorised, and answers before it has: a redirect may still come back authorised. Only the
       * webhook says that it can not any more.
       */
      cancel: async (idempotencyKey, charge) => {
        const told = await modify(charge, async (pspReference) => {
          const { ModificationsApi } = await checkout()
          const order = { merchantAccount, reference: `${charge.reference}${CANCEL_SUFFIX}` }
          return ModificationsApi.cancelAuthorisedPaymentByPspReference(pspReference, order, { idempotencyKey })
        })
        return told.status === 'pending' ? { status: 'unknown', pspCode: 'cancel_received' } : told
      },
      refund: async ({ reference, charge, amountMinor }) => {
        if (!charge.pspReference) return { status: 'unknown', pspCode: 'no_psp_reference' }
        const value = toPspUnits(amountMinor, charge.currency, countedBy.adyen)
        if (value === undefined) return { status: 'failed', pspCode: 'amount_not_expressible' }
        try {
          const { ModificationsApi } = await checkout()
          const order = { merchantAccount, reference, amount: { value, currency: charge.currency } }
          const { pspReference } = await ModificationsApi.refundCapturedPayment(charge.pspReference, order, { idempotencyKey: reference })
          return { status: 'pending', ...(pspReference ? { pspReference } : {}) }
        } catch (error) {
          const isAnswer = error instanceof HttpStatusError && error.status === 422 && adyenCodeOf(error) !== IN_PROGRESS
          return { status: isAnswer ? 'failed' : 'unknown', pspCode: adyenCodeOf(error) }
        }
      },
      inquireRefund: async () => ({ status: 'cannot_tell' }),
      /**
       * Adyen shows an HMAC key once, when it generates it: for a webhook whose key is not known a new one is generated. Events
       * that were signed before, and those that are signed until Adyen's servers have heard of the new key, have the old one.
       */
      webhooks: {
        register: (url, known) =>
          orRefused(async () => {
            const api = await webhooksApi()
            const found = await webhookAt(url, known)
            const additionalSettings = {
              includeEventCodes: adyenEvents,
              ...(found?.additionalSettings?.properties ? { properties: found.additionalSettings.properties } : {}),
            }
            const settings = { url, active: true, communicationFormat: 'json', additionalSettings }
            type Update = Parameters<typeof api.updateWebhook>[2]
            type SetUp = Parameters<typeof api.setUpWebhook>[1]
            const { id } = found?.id
              ? await api.updateWebhook(merchantAccount, found.id, settings as unknown as Update)
              : await api.setUpWebhook(merchantAccount, { ...settings, type: 'standard', description: 'Tollgate' } as unknown as SetUp)
            if (!id) throw new Error('the answer has no id')
            if (id === known) return { id, events: adyenEvents }
            const { hmacKey } = await api.generateHmacKey(merchantAccount, id)
            if (!hmacKey) throw new Error('the answer has no HMAC key')
            return { id, events: adyenEvents, secrets: { webhookSecret: toSecret(hmacKey) } }
          }),
      },
      verifyWebhook: async ({ rawBody }) => {
        const { library } = await load()
        const validator = new library.hmacValidator()
        const isValid = (item: AdyenNotification): boolean => {
          try {
            return webhookSecret !== undefined && validator.validateHMAC(item as never, webhookSecret.reveal())
          } catch {
            return false
          }
        }
        const items = readItems(rawBody)
        if (items.length === 0 || !items.every((item) => isValid(item) && item.merchantAccountCode === merchantAccount))
          throw new AppError('signature_invalid', 'the HMAC signature does not verify, or belongs to another merchant account')
      },
      readEvents: ({ rawBody }) => readItems(rawBody).map((item) => toEvent(item, separate)),
      lookUp: async () => undefined,
    }
  },
})
