/**
 * Stands in for Adyen, from https://docs.adyen.com/api-explorer/Checkout/72 (payments, captures, cancels, refunds),
 * https://docs.adyen.com/api-explorer/Management/3 (webhooks of a merchant account),
 * https://docs.adyen.com/development-resources/api-idempotency and
 * https://docs.adyen.com/development-resources/webhooks/webhook-types.
 */
import { randomBytes } from 'node:crypto'
import adyen from '@adyen/api-library'
import { createFakeLedger, type FakeAnswer, type FakeCharge, type FakeRequest, type FakeWebhook, refundable, startFakePsp, statusOf } from './fake-psp.ts'
import { withFake } from './stripe.ts'

const HMAC_KEY = '44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056'
const MERCHANT = 'TollgateTest'

const results: Record<FakeCharge['status'], string> = {
  captured: 'Authorised',
  authorized: 'Authorised',
  pending: 'Received',
  requires_action: 'RedirectShopper',
  declined: 'Refused',
  released: 'Cancelled',
  strange: 'Perhaps',
}

export const startFakeAdyen = async () => {
  const ledger = createFakeLedger('8836')
  let url = ''
  const view = (charge: FakeCharge) => ({
    pspReference: charge.id,
    merchantReference: charge.reference,
    amount: { value: charge.amount, currency: charge.currency },
    resultCode: results[charge.status],
    ...(charge.status === 'declined' ? { refusalReasonCode: charge.code, refusalReason: 'see the code' } : {}),
    ...(charge.status === 'requires_action' ? { action: { type: 'redirect', method: 'GET', url: `${url}/3ds/${charge.id}` } } : {}),
  })
  const error = (status: number, errorCode: string, message: string) => ({ status, body: { status, errorCode, message, errorType: 'validation' } })

  const hooks = new Map<string, FakeWebhook>()
  const viewHook = ({ id, url: to, events, active }: FakeWebhook) => ({
    id,
    type: 'standard',
    url: to,
    active,
    communicationFormat: 'json',
    additionalSettings: { includeEventCodes: events, excludeEventCodes: [], properties: { addAcquirerResult: true } },
  })
  const management = ({ method, body, query }: FakeRequest, id: string | undefined, act: string | undefined): FakeAnswer => {
    const hook = hooks.get(id ?? '')
    if (method === 'GET') {
      const size = Number(query.get('pageSize') ?? 10)
      const from = (Number(query.get('pageNumber') ?? 1) - 1) * size
      const data = [...hooks.values()].slice(from, from + size).map(viewHook)
      return { status: 200, body: { itemsTotal: hooks.size, pagesTotal: Math.ceil(hooks.size / size), data } }
    }
    if (id !== undefined && !hook) return { status: 404, body: { title: 'Not found', status: 404 } }
    if (hook && act === 'generateHmac') {
      hook.secret = randomBytes(32).toString('hex').toUpperCase()
      return { status: 200, body: { hmacKey: hook.secret } }
    }
    const { url: to, active, communicationFormat, type, additionalSettings } = JSON.parse(body)
    if (communicationFormat !== 'json' || (!hook && type !== 'standard'))
      return { status: 422, body: { title: 'Invalid webhook', status: 422, detail: 'see the fields', invalidFields: [{ name: 'type', message: 'unknown' }] } }
    const made = hook ?? { id: `WBHK${hooks.size + 1}`, url: to, events: [], active, secret: '' }
    hooks.set(made.id, Object.assign(made, { url: to, active, events: additionalSettings.includeEventCodes }))
    return { status: 200, body: viewHook(made) }
  }
  /** The key that it signs with now. */
  let hmacKey = HMAC_KEY
  const sign = (item: Record<string, unknown>) => {
    const whole = { merchantAccountCode: MERCHANT, eventDate: new Date().toISOString(), additionalData: {}, ...item }
    const hmacSignature = new adyen.hmacValidator().calculateHmac(whole as never, hmacKey)
    const signed = { ...whole, additionalData: { ...(whole.additionalData as object), hmacSignature } }
    return { headers: {}, body: JSON.stringify({ live: 'false', notificationItems: [{ NotificationRequestItem: signed }] }) }
  }
  const itemOf = (charge: FakeCharge, eventCode: string, success: boolean, more: object = {}) => ({
    pspReference: charge.id,
    merchantReference: charge.reference,
    amount: { value: charge.amount, currency: charge.currency },
    eventCode,
    success: String(success),
    ...more,
  })
  const sent = new Map<string, string>()
  const later: (() => Promise<unknown>)[] = []

  const fake = await startFakePsp(
    {
      name: 'adyen',
      isCharge: ({ path }) => path === '/v72/payments',
      isOperation: ({ method, path }) => method === 'POST' && /\/(captures|cancels|webhooks|generateHmac)$/.test(path),
      refusal: error(422, '137', 'Invalid amount specified'),
      keyOf: ({ headers, path }) => (headers['idempotency-key'] ? `${path} ${headers['idempotency-key']}` : undefined),
      rateLimited: error(429, '000', 'Too many requests'),
      failed: { status: 500, body: { status: 500, errorCode: '905', message: 'Internal error', errorType: 'internal' } },
      handle: (request) => {
        const { path, body, headers } = request
        if (headers['x-api-key'] !== 'adyen-key') return error(401, '000', 'HTTP Status Response - Unauthorized')
        const [isManagement, hookId, act] = new RegExp(`^/v3/merchants/${MERCHANT}/webhooks(?:/([^/]+))?(?:/(\\w+))?$`).exec(path) ?? []
        if (isManagement) return management(request, hookId, act)
        const order = JSON.parse(body) as {
          reference: string
          amount: { value: number; currency: string }
          merchantAccount: string
          paymentMethod?: { storedPaymentMethodId?: string }
          additionalData?: { manualCapture?: string }
          shopperInteraction?: string
        }
        if (path !== '/v72/payments/details' && order.merchantAccount !== MERCHANT) return error(403, '901', 'Invalid Merchant Account')
        if (path === '/v72/payments/details') {
          const charge = ledger.byId((JSON.parse(body) as { details: { redirectResult: string } }).details.redirectResult)
          return charge ? { status: 200, body: view(charge) } : error(422, '101', 'Invalid details')
        }
        if (path === '/v72/payments') {
          const token = order.paymentMethod?.storedPaymentMethodId ?? ''
          if (token.includes('unknown')) return error(422, '803', 'PaymentDetail not found')
          const separate = order.additionalData?.manualCapture === 'true'
          const charge = ledger.add({
            reference: order.reference,
            id: ledger.nextId(),
            ...{ amount: order.amount.value, currency: order.amount.currency },
            ...statusOf(token, separate),
          })
          return { status: 200, body: view(charge) }
        }
        const [, id = '', action = ''] = /^\/v72\/payments\/([^/]+)\/(\w+)$/.exec(path) ?? []
        const charge = ledger.byId(id)
        if (!charge) return error(422, '167', 'Original pspReference required for this operation')
        const pspReference = `${id}-${action}${charge.refunds.length}`
        const answer = { merchantAccount: MERCHANT, paymentPspReference: id, reference: order.reference, pspReference, status: 'received' }
        if (action === 'captures' || action === 'cancels') {
          // What is captured can no longer be cancelled: the webhook says so, not the answer.
          const isDone = action === 'captures' || charge.status !== 'captured'
          if (isDone) charge.status = action === 'captures' ? 'captured' : 'released'
          const of = { pspReference: answer.pspReference, originalReference: id, merchantReference: order.reference }
          later.push(() => fake.send(sign(itemOf(charge, action === 'captures' ? 'CAPTURE' : 'CANCELLATION', isDone, of))))
        }
        if (action === 'refunds') {
          const { value } = order.amount
          if (value > refundable(charge)) return error(422, '137', 'Invalid amount specified')
          charge.refunds.push({ reference: order.reference, id: answer.pspReference, amount: value, status: 'succeeded' })
          // The harder of the two that are documented: the reference of the payment, not of the refund.
          const of = { pspReference, originalReference: id, amount: order.amount }
          later.push(() => fake.send(sign(itemOf(charge, 'REFUND', true, of))))
        }
        // Once the answer is out.
        setTimeout(() => {
          for (const tell of later.splice(0)) if (fake.webhooks.mode !== 'never') void tell()
        }, 20)
        return { status: 201, body: answer }
      },
      event: (charge) => {
        const success = charge.status === 'captured' || charge.status === 'authorized'
        if (!success && charge.status !== 'declined') return undefined
        const known = sent.get(charge.id)
        const event = sign(itemOf(charge, 'AUTHORISATION', success, { reason: success ? '' : (charge.code ?? 'Refused') }))
        sent.set(charge.id, known ?? event.body)
        return event
      },
    },
    ledger,
  )
  url = fake.url
  return {
    ...withFake(fake),
    provider: 'adyen' as const,
    credentials: { apiKey: 'adyen-key', merchantAccount: MERCHANT },
    webhookSecret: HMAC_KEY as string | undefined,
    hooks,
    /** From now on it signs as this webhook does; without one as in the beginning. */
    signAs: (hook?: FakeWebhook) => {
      hmacKey = hook?.secret ?? HMAC_KEY
    },
    baseUrlVariable: 'ADYEN_URL',
    token: (word: string) => `shopper_1/stored_${word}`,
    eventOf: (charge: FakeCharge) => sign(itemOf(charge, 'AUTHORISATION', charge.status !== 'declined')),
    unknownEvent: () =>
      sign({ pspReference: 'x1', merchantReference: '', amount: { value: 0, currency: 'EUR' }, eventCode: 'REPORT_AVAILABLE', success: 'true' }),
    disputeEvent: (charge: FakeCharge, status: 'open' | 'won' | 'lost') => {
      const eventCode = { open: 'NOTIFICATION_OF_CHARGEBACK', won: 'CHARGEBACK_REVERSED', lost: 'CHARGEBACK' }[status]
      const disputeStatus = { open: 'Undefended', won: 'Won', lost: 'Lost' }[status]
      return sign(
        itemOf(charge, eventCode, true, {
          pspReference: `dispute-${charge.id}`,
          originalReference: charge.id,
          reason: 'Fraud',
          additionalData: { disputeStatus },
        }),
      )
    },
    refundFailedEvent: (charge: FakeCharge) =>
      sign(itemOf(charge, 'REFUND_FAILED', true, { pspReference: charge.refunds[0]?.id, originalReference: charge.id, reason: 'Account closed' })),
    captureFailedEvent: (charge: FakeCharge) =>
      sign(itemOf(charge, 'CAPTURE_FAILED', true, { pspReference: `failed-${charge.id}`, originalReference: charge.id, reason: 'Insufficient balance' })),
    // Adyen signs no time: what came before is known by its name alone.
    staleEvent: undefined,
  }
}
