/**
 * Stands in for PayPal, from https://developer.paypal.com/docs/api/orders/v2/, /docs/api/payments/v2/,
 * /api/webhooks/v1/, /api/rest/authentication/, /api/rest/reference/idempotency/ and /api/rest/webhooks/rest/ (signatures).
 */
import { createSign, randomUUID } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { makeCertificates } from '../certificates.ts'
import { createFakeLedger, type FakeAnswer, type FakeCharge, type FakePsp, type FakeWebhook, refundable, startFakePsp, statusOf } from './fake-psp.ts'
import { withFake } from './stripe.ts'

/** Some of those that PayPal has. */
const AVAILABLE = [
  'BILLING.PLAN.CREATED',
  'CHECKOUT.ORDER.APPROVED',
  'CHECKOUT.ORDER.COMPLETED',
  'CUSTOMER.DISPUTE.CREATED',
  'CUSTOMER.DISPUTE.RESOLVED',
  'CUSTOMER.DISPUTE.UPDATED',
  'PAYMENT.AUTHORIZATION.CREATED',
  'PAYMENT.CAPTURE.COMPLETED',
  'PAYMENT.CAPTURE.DECLINED',
  'PAYMENT.CAPTURE.DENIED',
  'PAYMENT.CAPTURE.PENDING',
  'PAYMENT.CAPTURE.REFUNDED',
  'PAYMENT.CAPTURE.REVERSED',
]
const WEBHOOK_ID = 'WH-5DA92873AB'

const { cert, key } = makeCertificates().client

export const startFakePaypal = async () => {
  const ledger = createFakeLedger('5O1')
  let fake: FakePsp
  const units = (amount: number, currency: string) => (['HUF', 'JPY', 'TWD'].includes(currency) ? String(amount) : (amount / 100).toFixed(2))
  const captureStatus: Partial<Record<FakeCharge['status'], string>> = { captured: 'COMPLETED', declined: 'DECLINED', pending: 'PENDING', strange: 'PERPLEXED' }
  /** Orders whose customer has said yes, and which nobody has captured. */
  const approved = new Set<string>()
  const customIds = new Map<string, string>()
  const customIdOf = (charge: FakeCharge) => customIds.get(charge.id) ?? charge.reference
  const money = (charge: FakeCharge, amount = charge.amount) => ({ currency_code: charge.currency, value: units(amount, charge.currency) })
  const capture = (charge: FakeCharge) => ({
    id: `CAP-${charge.id}`,
    status: captureStatus[charge.status],
    amount: money(charge),
    custom_id: customIdOf(charge),
    invoice_id: charge.reference,
    supplementary_data: { related_ids: { order_id: charge.id } },
    ...(charge.code ? { processor_response: { response_code: charge.code } } : {}),
  })
  const view = (charge: FakeCharge) => {
    const authorization = charge.status === 'authorized' || charge.status === 'released'
    const captures = captureStatus[charge.status] ? [capture(charge)] : []
    const authorizations = authorization ? [{ id: `AUTH-${charge.id}`, status: charge.status === 'authorized' ? 'CREATED' : 'VOIDED' }] : []
    const refunds = charge.refunds.map((refund) => ({ id: refund.id, status: 'COMPLETED', invoice_id: refund.reference, amount: money(charge, refund.amount) }))
    return {
      id: charge.id,
      status: charge.status !== 'requires_action' ? 'COMPLETED' : approved.has(charge.id) ? 'APPROVED' : 'PAYER_ACTION_REQUIRED',
      links: [
        { href: `${fake.url}/v2/checkout/orders/${charge.id}`, rel: 'self', method: 'GET' },
        ...(charge.status === 'requires_action' ? [{ href: `${fake.url}/3ds/${charge.id}`, rel: 'payer-action', method: 'GET' }] : []),
      ],
      purchase_units: [
        { reference_id: charge.reference, custom_id: customIdOf(charge), invoice_id: charge.reference, payments: { captures, authorizations, refunds } },
      ],
    }
  }
  const unprocessable = (issue: string): FakeAnswer => ({
    status: 422,
    body: { name: 'UNPROCESSABLE_ENTITY', message: 'see details', debug_id: 'x', details: [{ issue, description: issue }] },
  })
  const missing = { status: 404, body: { name: 'RESOURCE_NOT_FOUND', message: 'no such resource', debug_id: 'x' } }
  /** The webhook that it signs as now. */
  let webhookId = WEBHOOK_ID
  const sign = (event: object, at = new Date(Date.now() + fake.aheadMs)) => {
    const body = JSON.stringify(event)
    const transmissionId = randomUUID()
    const time = at.toISOString()
    const signature = createSign('SHA256')
      .update(`${transmissionId}|${time}|${webhookId}|${crc32(body)}`)
      .sign(key, 'base64')
    return {
      headers: {
        'paypal-transmission-id': transmissionId,
        'paypal-transmission-time': time,
        'paypal-transmission-sig': signature,
        'paypal-cert-url': `${fake.url}/v1/notifications/certs/CERT-1`,
        'paypal-auth-algo': 'SHA256withRSA',
      },
      body,
    }
  }
  const hooks = new Map<string, FakeWebhook>()
  const typesOf = (events: readonly string[]) => events.map((name) => ({ name, description: name, status: 'ENABLED' }))
  const viewHook = ({ id, url, events }: FakeWebhook) => ({ id, url, event_types: typesOf(events) })
  const invalid = (name: string): FakeAnswer => ({ status: 400, body: { name, message: 'see the name', debug_id: 'x', details: [] } })
  const notifications = (method: string, path: string, body: string): FakeAnswer => {
    if (path === 'webhooks-event-types') return { status: 200, body: { event_types: typesOf(AVAILABLE) } }
    const [, id] = path.split('/')
    if (method === 'GET') return { status: 200, body: { webhooks: [...hooks.values()].map(viewHook) } }
    const asked = JSON.parse(body)
    const events = (method === 'POST' ? asked.event_types : asked[0].value).map(({ name }: { name: string }) => name)
    if (events.some((name: string) => !AVAILABLE.includes(name))) return invalid('VALIDATION_ERROR')
    if (method === 'POST') {
      if ([...hooks.values()].some(({ url }) => url === asked.url)) return invalid('WEBHOOK_URL_ALREADY_EXISTS')
      if (hooks.size >= 10) return invalid('WEBHOOK_NUMBER_LIMIT_EXCEEDED')
      const made = `WH-${randomUUID().slice(0, 8)}`
      hooks.set(made, { id: made, url: asked.url, events, active: true, secret: made })
      return { status: 201, body: viewHook(hooks.get(made) as FakeWebhook) }
    }
    const hook = hooks.get(id ?? '')
    if (!hook) return missing
    if (hook.events.toSorted().join() === events.toSorted().join()) return invalid('WEBHOOK_PATCH_REQUEST_NO_CHANGE')
    hook.events = events
    return { status: 200, body: viewHook(hook) }
  }
  const byPart = (prefix: string, id: string) => ledger.byId(id.replace(prefix, ''))

  fake = await startFakePsp(
    {
      name: 'paypal',
      isCharge: ({ method, path }) => method === 'POST' && path === '/v2/checkout/orders',
      isOperation: ({ method, path }) => method === 'PATCH' || /\/(capture|void)$/.test(path) || (method === 'POST' && path.endsWith('/webhooks')),
      refusal: unprocessable('PAYEE_ACCOUNT_RESTRICTED'),
      keyOf: ({ headers, path }) => (headers['paypal-request-id'] ? `${path} ${headers['paypal-request-id']}` : undefined),
      rateLimited: { status: 429, body: { name: 'RATE_LIMIT_REACHED', message: 'Too many requests', debug_id: 'x' } },
      failed: { status: 500, body: { name: 'INTERNAL_SERVER_ERROR', message: 'An internal error', debug_id: 'x' } },
      handle: ({ method, path, body, headers }) => {
        if (path === '/v1/notifications/certs/CERT-1') return { status: 200, body: cert.toString(), headers: { 'content-type': 'text/plain' } }
        if (path === '/v1/oauth2/token') {
          const expected = `Basic ${Buffer.from('paypal-id:paypal-secret').toString('base64')}`
          if (headers.authorization !== expected) return { status: 401, body: { error: 'invalid_client', error_description: 'Client Authentication failed' } }
          return { status: 200, body: { access_token: 'A21', token_type: 'Bearer', expires_in: 32_400, scope: 'all', app_id: 'APP', nonce: 'n' } }
        }
        if (headers.authorization !== 'Bearer A21') return { status: 401, body: { name: 'AUTHENTICATION_FAILURE', message: 'no', debug_id: 'x' } }
        const [, notificationsPath] = /^\/v1\/notifications\/(.+)$/.exec(path) ?? []
        if (notificationsPath) return notifications(method, notificationsPath, body)
        if (method === 'POST' && path === '/v2/checkout/orders') {
          const order = JSON.parse(body)
          const unit = order.purchase_units[0]
          // "Block accidental payments": an invoice is paid once, whatever the request id.
          if (ledger.charges.has(unit.invoice_id) && ledger.charges.get(unit.invoice_id)?.status !== 'declined') return unprocessable('DUPLICATE_INVOICE_ID')
          const token: string = order.payment_source.card?.vault_id ?? order.payment_source.paypal?.vault_id ?? ''
          if (token.includes('unknown')) return unprocessable('TOKEN_ID_NOT_FOUND')
          const { status, code } = statusOf(token, order.intent === 'AUTHORIZE')
          const currency: string = unit.amount.currency_code
          const amount = Math.round(Number(unit.amount.value) * (['HUF', 'JPY', 'TWD'].includes(currency) ? 1 : 100))
          const charge = ledger.add({ reference: unit.invoice_id, id: ledger.nextId(), amount, currency, status, ...(code ? { code } : {}) })
          // A processor's code comes with the capture, an issue of PayPal's own as an error.
          if (status === 'declined' && code && /^[A-Z_]{6,}$/.test(code)) return unprocessable(code)
          return { status: 201, body: view(charge) }
        }
        const [, orderId = '', orderAct] = /^\/v2\/checkout\/orders\/([^/]+)(?:\/(\w+))?$/.exec(path) ?? []
        const order = ledger.byId(orderId)
        if (order && method === 'PATCH') {
          if (order.status !== 'requires_action') return unprocessable('ORDER_ALREADY_COMPLETED')
          const [patch] = JSON.parse(body)
          if (patch.path !== `/purchase_units/@reference_id=='${order.reference}'/custom_id` || patch.op !== 'replace') return unprocessable('INVALID_PATCH')
          customIds.set(order.id, patch.value)
          return { status: 204 }
        }
        if (order && orderAct === 'capture') {
          if (!approved.has(order.id)) return unprocessable('ORDER_NOT_APPROVED')
          order.status = 'captured'
          return { status: 201, body: view(order) }
        }
        if (order) return { status: 200, body: view(order) }
        const [, authorizationId = '', act] = /^\/v2\/payments\/authorizations\/([^/]+)\/(\w+)$/.exec(path) ?? []
        const authorized = byPart('AUTH-', authorizationId)
        if (authorized && act === 'capture') {
          authorized.status = 'captured'
          return { status: 201, body: capture(authorized) }
        }
        if (authorized && act === 'void') {
          authorized.status = 'released'
          return { status: 204 }
        }
        const charge = byPart('CAP-', /^\/v2\/payments\/captures\/([^/]+)\/refund$/.exec(path)?.[1] ?? '')
        if (!charge) return missing
        const asked = JSON.parse(body)
        const amount = Math.round(Number(asked.amount.value) * (['HUF', 'JPY', 'TWD'].includes(charge.currency) ? 1 : 100))
        if (amount > refundable(charge)) return unprocessable('REFUND_AMOUNT_EXCEEDED')
        const refund = { reference: asked.invoice_id, id: `REF-${charge.id}-${charge.refunds.length}`, amount, status: 'succeeded' as const }
        charge.refunds.push(refund)
        return { status: 201, body: { id: refund.id, status: 'COMPLETED', invoice_id: refund.reference, amount: money(charge, amount) } }
      },
      event: (charge, seq) => {
        const type = { captured: 'COMPLETED', declined: 'DENIED', pending: 'PENDING' }[charge.status as 'captured']
        return type
          ? sign({ id: `WH-${charge.id}-${seq}`, event_type: `PAYMENT.CAPTURE.${type}`, resource_type: 'capture', resource: capture(charge) })
          : undefined
      },
    },
    ledger,
  )
  return {
    ...withFake(fake),
    provider: 'paypal' as const,
    credentials: { clientId: 'paypal-id', clientSecret: 'paypal-secret', webhookId: WEBHOOK_ID },
    webhookSecret: undefined as string | undefined,
    hooks,
    /** From now on it signs as this webhook does; without one as in the beginning. */
    signAs: (hook?: FakeWebhook) => {
      webhookId = hook?.secret ?? WEBHOOK_ID
    },
    baseUrlVariable: 'PAYPAL_URL',
    /** The customer says yes; the money is taken when the order is captured. */
    approve: (charge: FakeCharge) => approved.add(charge.id),
    token: (word: string) => `card/vault_${word}`,
    eventOf: (charge: FakeCharge) => sign({ id: `WH-${charge.id}`, event_type: 'PAYMENT.CAPTURE.COMPLETED', resource: capture(charge) }),
    unknownEvent: () => sign({ id: 'WH-unknown', event_type: 'BILLING.PLAN.CREATED', resource_type: 'plan', resource: { id: 'P-1' } }),
    disputeEvent: (charge: FakeCharge, status: 'open' | 'won' | 'lost') =>
      sign({
        id: `WH-dispute-${charge.id}-${status}`,
        event_type: status === 'open' ? 'CUSTOMER.DISPUTE.CREATED' : 'CUSTOMER.DISPUTE.RESOLVED',
        resource_type: 'dispute',
        resource: {
          dispute_id: `PP-D-${charge.id}`,
          reason: 'UNAUTHORISED',
          update_time: new Date().toISOString(),
          seller_response_due_date: '2030-01-01T00:00:00.000Z',
          status: status === 'open' ? 'WAITING_FOR_SELLER_RESPONSE' : 'RESOLVED',
          dispute_amount: money(charge),
          dispute_outcome: { outcome_code: status === 'lost' ? 'RESOLVED_BUYER_FAVOUR' : 'RESOLVED_SELLER_FAVOUR' },
          disputed_transactions: [{ custom: charge.reference, invoice_number: charge.reference, seller_transaction_id: `CAP-${charge.id}` }],
        },
      }),
    refundFailedEvent: (charge: FakeCharge) => {
      const [refund] = charge.refunds
      const resource = { id: refund?.id, status: 'FAILED', invoice_id: refund?.reference, amount: money(charge, refund?.amount) }
      return sign({ id: `WH-refund-${charge.id}`, event_type: 'PAYMENT.REFUND.FAILED', resource_type: 'refund', resource })
    },
    staleEvent: (charge: FakeCharge) =>
      sign({ id: 'WH-stale', event_type: 'PAYMENT.CAPTURE.COMPLETED', resource: capture(charge) }, new Date(Date.now() - 4 * 24 * 3_600_000)),
  }
}
