/**
 * Stands in for MercadoPago, from https://www.mercadopago.com/developers/en/reference/online-payments/checkout-api-payments
 * (create, search, get, update, refunds), .../reference/cards/card_tokens and
 * .../docs/your-integrations/notifications/webhooks.
 */
import { createHmac, randomUUID } from 'node:crypto'
import { createFakeLedger, type FakeCharge, type FakePsp, refundable, startFakePsp, statusOf } from './fake-psp.ts'
import { withFake } from './stripe.ts'

const WEBHOOK_SECRET = 'mercadopago-signature-key'

const statuses: Record<FakeCharge['status'], [status: string, detail: string]> = {
  captured: ['approved', 'accredited'],
  authorized: ['authorized', 'pending_capture'],
  pending: ['in_process', 'pending_contingency'],
  requires_action: ['pending', 'pending_challenge'],
  declined: ['rejected', 'cc_rejected_other_reason'],
  released: ['cancelled', 'by_collector'],
  strange: ['meditating', 'deeply'],
}

export const startFakeMercadopago = async () => {
  const ledger = createFakeLedger('13')
  let url = ''
  let fake: FakePsp
  const disputes = new Map<string, [string, string]>()
  const view = (charge: FakeCharge) => {
    const [status, detail] = disputes.get(charge.id) ?? statuses[charge.status]
    return {
      id: Number(charge.id),
      status,
      status_detail: charge.status === 'declined' ? charge.code : detail,
      external_reference: charge.reference,
      transaction_amount: charge.amount / 100,
      currency_id: charge.currency,
      ...(charge.status === 'requires_action' ? { three_ds_info: { external_resource_url: `${url}/3ds/${charge.id}` } } : {}),
    }
  }
  const error = (status: number, code: string) => ({ status, body: { message: code, error: code, status, cause: [] } })
  const sign = (event: { id: string; type: string; action: string; data: { id: string } }, at = Date.now() + fake.aheadMs) => {
    const requestId = randomUUID()
    const ts = Math.floor(at / 1000)
    const v1 = createHmac('sha256', WEBHOOK_SECRET).update(`id:${event.data.id.toLowerCase()};request-id:${requestId};ts:${ts};`).digest('hex')
    const body = JSON.stringify({ api_version: 'v1', live_mode: false, user_id: 1, date_created: new Date(at).toISOString(), ...event })
    return { headers: { 'x-signature': `ts=${ts},v1=${v1}`, 'x-request-id': requestId }, body, query: `data.id=${event.data.id}&type=${event.type}` }
  }
  const eventOf = (charge: FakeCharge, id: string) => sign({ id, type: 'payment', action: 'payment.updated', data: { id: charge.id } })

  fake = await startFakePsp(
    {
      name: 'mercadopago',
      isCharge: ({ method, path }) => method === 'POST' && path === '/v1/payments',
      isOperation: ({ method }) => method === 'PUT',
      refusal: error(400, 'bad_request'),
      keyOf: ({ headers, method, path }) => (method === 'POST' && headers['x-idempotency-key'] ? `${path} ${headers['x-idempotency-key']}` : undefined),
      rateLimited: error(429, 'too_many_requests'),
      failed: error(500, 'internal_error'),
      handle: ({ method, path, query, body, headers }) => {
        if (headers.authorization !== 'Bearer APP_USR-1') return error(401, 'unauthorized')
        const order = body === '' ? {} : JSON.parse(body)
        if (path === '/v1/card_tokens') {
          if (order.card_id?.includes('unknown')) return error(404, 'card_not_found')
          return { status: 201, body: { id: `token-${order.card_id}`, status: 'active' } }
        }
        if (method === 'POST' && path === '/v1/payments') {
          const cause = /cause:(\w+)/.exec(order.token ?? '')?.[1]
          if (cause === 'none') return { status: 400, body: { message: 'bad', error: 'bad_request', status: 400, cause: {} } }
          if (cause) return { status: 400, body: { message: 'bad', error: 'bad_request', status: 400, cause: [{ code: Number(cause), description: cause }] } }
          const charge = ledger.add({
            reference: order.external_reference,
            id: ledger.nextId(),
            amount: Math.round(order.transaction_amount * 100),
            currency: 'BRL',
            ...statusOf(order.token ?? '', order.capture === false),
          })
          return { status: 201, body: view(charge) }
        }
        if (path === '/v1/payments/search') {
          const found = ledger.charges.get(query.get('external_reference') ?? '')
          return { status: 200, body: { results: found ? [view(found)] : [], paging: { total: found ? 1 : 0, limit: 1, offset: 0 } } }
        }
        const [, id = '', rest] = /^\/v1\/payments\/([^/]+)(\/refunds)?$/.exec(path) ?? []
        const charge = ledger.byId(id)
        if (!charge) return error(404, 'not_found')
        if (rest && method === 'POST') {
          const amount = Math.round(order.amount * 100)
          if (amount > refundable(charge)) return error(400, 'amount_exceeds')
          charge.refunds.push({ reference: headers['x-idempotency-key'] ?? '', id: `${charge.refunds.length + 1}`, amount, status: 'succeeded' })
          return { status: 201, body: { id: charge.refunds.length, payment_id: Number(id), amount: order.amount, status: 'approved' } }
        }
        if (method === 'PUT') {
          // Only what is pending, in process or authorized can be cancelled.
          if (order.status === 'cancelled' && charge.status !== 'authorized' && charge.status !== 'requires_action') return error(400, 'bad_request')
          if (order.status === 'cancelled') charge.status = 'released'
          if (order.capture === true) charge.status = 'captured'
        }
        return { status: 200, body: view(charge) }
      },
      event: (charge, seq) => eventOf(charge, `${charge.id}${seq}`),
    },
    ledger,
  )
  url = fake.url
  return {
    ...withFake(fake),
    provider: 'mercadopago' as const,
    credentials: { accessToken: 'APP_USR-1' },
    webhookSecret: WEBHOOK_SECRET as string | undefined,
    baseUrlVariable: 'MERCADOPAGO_URL',
    token: (word: string) => `customer_1/${word}`,
    eventOf: (charge: FakeCharge) => eventOf(charge, charge.id),
    unknownEvent: () => sign({ id: '99', type: 'plan', action: 'plan.created', data: { id: 'p1' } }),
    disputeEvent: (charge: FakeCharge, status: 'open' | 'won' | 'lost') => {
      disputes.set(charge.id, ['charged_back', { open: 'in_process', won: 'reimbursed', lost: 'settled' }[status]])
      return eventOf(charge, `dispute-${charge.id}-${status}`)
    },
    staleEvent: (charge: FakeCharge) => sign({ id: 'stale', type: 'payment', action: 'payment.updated', data: { id: charge.id } }, Date.now() - 301_000),
  }
}
