/**
 * Stands in for Stripe, from https://docs.stripe.com/api/payment_intents, /api/payment_intents/search, /api/refunds,
 * /api/errors, /api/webhook_endpoints, /api/idempotent_requests (failures are answered again under their key) and /webhooks/signature.
 */
import { randomBytes } from 'node:crypto'
import Stripe from 'stripe'
import { createFakeLedger, type FakeCharge, type FakeWebhook, formOf, refundable, startFakePsp, statusOf } from './fake-psp.ts'

const WEBHOOK_SECRET = 'whsec_test_of_the_stand_in'

const statuses: Record<FakeCharge['status'], string> = {
  captured: 'succeeded',
  authorized: 'requires_capture',
  pending: 'processing',
  requires_action: 'requires_action',
  declined: 'requires_payment_method',
  released: 'canceled',
  strange: 'in_limbo',
}

export const startFakeStripe = async () => {
  const ledger = createFakeLedger('pi_')
  let url = ''
  const errorOf = (charge: FakeCharge) => ({
    type: 'card_error',
    code: 'card_declined',
    decline_code: charge.code?.replace('!', '') ?? 'generic_decline',
    // The network advises against trying again.
    ...(charge.code?.endsWith('!') ? { advice_code: 'do_not_try_again', network_advice_code: '03' } : {}),
    message: 'Declined.',
  })
  const view = (charge: FakeCharge) => ({
    id: charge.id,
    object: 'payment_intent',
    amount: charge.amount,
    currency: charge.currency.toLowerCase(),
    status: statuses[charge.status],
    metadata: { tollgate_reference: charge.reference },
    last_payment_error: charge.status === 'declined' ? errorOf(charge) : null,
    next_action: charge.status === 'requires_action' ? { type: 'redirect_to_url', redirect_to_url: { url: `${url}/3ds/${charge.id}` } } : null,
    cancellation_reason: charge.status === 'released' ? (charge.code ?? null) : null,
  })
  const viewRefund = (charge: FakeCharge, refund: FakeCharge['refunds'][number]) => ({
    id: refund.id,
    object: 'refund',
    amount: refund.amount,
    currency: charge.currency.toLowerCase(),
    payment_intent: charge.id,
    status: refund.status,
    metadata: { tollgate_reference: refund.reference },
  })
  const invalid = (message: string, code?: string) => ({ status: 400, body: { error: { type: 'invalid_request_error', message, ...(code ? { code } : {}) } } })
  const missing = { status: 404, body: { error: { type: 'invalid_request_error', code: 'resource_missing', message: 'No such payment_intent' } } }
  const stripe = new Stripe('sk_test_signs_only')
  const hooks = new Map<string, FakeWebhook>()
  const viewHook = ({ id, url: to, events, active }: FakeWebhook) => ({
    id,
    object: 'webhook_endpoint',
    url: to,
    enabled_events: events,
    status: active ? 'enabled' : 'disabled',
  })
  /** The secret that it signs with now. */
  let secret = WEBHOOK_SECRET
  const sign = (event: object) => {
    const body = JSON.stringify(event)
    return { headers: { 'stripe-signature': stripe.webhooks.generateTestHeaderString({ payload: body, secret }) }, body }
  }

  const fake = await startFakePsp(
    {
      name: 'stripe',
      repeatsFailures: true,
      isCharge: ({ method, path }) => method === 'POST' && path === '/v1/payment_intents',
      isOperation: ({ method, path }) => method === 'POST' && /\/(capture|cancel|webhook_endpoints)$/.test(path),
      refusal: { status: 400, body: { error: { type: 'invalid_request_error', code: 'amount_too_large', message: 'Too much.' } } },
      keyOf: ({ headers, method }) => (method === 'POST' ? headers['idempotency-key'] : undefined),
      rateLimited: { status: 429, body: { error: { type: 'invalid_request_error', code: 'rate_limit', message: 'Too many requests.' } } },
      failed: { status: 500, body: { error: { type: 'api_error', message: 'Something went wrong.' } } },
      handle: ({ method, path, query, body, headers }) => {
        if (headers.authorization !== 'Bearer sk_test_1') return { status: 401, body: { error: { type: 'invalid_request_error', message: 'Invalid API Key' } } }
        const form = formOf(body)
        const [, hookId] = /^\/v1\/webhook_endpoints(?:\/([^/]+))?$/.exec(path) ?? []
        if (path.startsWith('/v1/webhook_endpoints')) {
          const events = [...new URLSearchParams(body)].filter(([name]) => name.startsWith('enabled_events')).map(([, event]) => event)
          if (hookId === undefined && method === 'GET')
            return { status: 200, body: { object: 'list', data: [...hooks.values()].map(viewHook), has_more: false } }
          if (hookId === undefined) {
            if (hooks.size >= 16) return invalid('You have reached the maximum of 16 test webhook endpoints.')
            const id = `we_${hooks.size + 1}_${randomBytes(4).toString('hex')}`
            const made = { id, url: form.url ?? '', events, active: true, secret: `whsec_${randomBytes(16).toString('hex')}` }
            hooks.set(id, made)
            return { status: 200, body: { ...viewHook(made), secret: made.secret } }
          }
          const hook = hooks.get(hookId)
          if (!hook) return missing
          if (method === 'DELETE') hooks.delete(hookId)
          else Object.assign(hook, { events, active: form.disabled !== 'true' })
          return { status: 200, body: method === 'DELETE' ? { id: hookId, object: 'webhook_endpoint', deleted: true } : viewHook(hook) }
        }
        const [, intent = '', action] = /^\/v1\/payment_intents\/([^/]+)(?:\/(\w+))?$/.exec(path) ?? []
        if (method === 'POST' && path === '/v1/payment_intents') {
          const token = form.payment_method ?? ''
          if (token.includes('unknown'))
            return { status: 400, body: { error: { type: 'invalid_request_error', code: 'resource_missing', message: 'No such PaymentMethod' } } }
          const separate = form.capture_method === 'manual'
          const reference = form['metadata[tollgate_reference]'] ?? ''
          const charge = ledger.add({
            reference,
            id: ledger.nextId(),
            amount: Number(form.amount),
            currency: (form.currency ?? '').toUpperCase(),
            ...statusOf(token, separate),
          })
          if (charge.status === 'declined') return { status: 402, body: { error: { ...errorOf(charge), payment_intent: view(charge) } } }
          // https://docs.stripe.com/declines/codes: without the customer there is nobody to authenticate.
          if (charge.status === 'requires_action' && form.off_session === 'true') {
            Object.assign(charge, { status: 'declined', code: 'authentication_required' })
            return { status: 402, body: { error: { ...errorOf(charge), code: 'authentication_required', payment_intent: view(charge) } } }
          }
          return { status: 200, body: view(charge) }
        }
        if (path === '/v1/payment_intents/search') {
          const reference = /:'([^']+)'/.exec(query.get('query') ?? '')?.[1] ?? ''
          const found = ledger.charges.get(reference)
          return { status: 200, body: { object: 'search_result', data: found ? [view(found)] : [], has_more: false } }
        }
        const charge = ledger.byId(intent)
        if (charge && action === 'capture') {
          if (charge.status !== 'authorized') return invalid('This PaymentIntent could not be captured.', 'payment_intent_unexpected_state')
          charge.status = 'captured'
        }
        if (charge && action === 'cancel') {
          // https://docs.stripe.com/api/payment_intents/cancel: not what has succeeded, nor what is processing.
          if (charge.status !== 'authorized' && charge.status !== 'requires_action')
            return invalid('You cannot cancel this PaymentIntent because of its status.', 'payment_intent_unexpected_state')
          Object.assign(charge, { status: 'released', code: form.cancellation_reason })
        }
        if (intent) return charge ? { status: 200, body: view(charge) } : missing
        if (path === '/v1/refunds' && method === 'POST') {
          const of = ledger.byId(form.payment_intent ?? '')
          if (!of || Number(form.amount) > refundable(of)) return invalid('Refund amount is greater than unrefunded amount on charge')
          const refund = {
            reference: form['metadata[tollgate_reference]'] ?? '',
            id: `re_${of.id}_${of.refunds.length}`,
            amount: Number(form.amount),
            status: 'succeeded' as const,
          }
          of.refunds.push(refund)
          return { status: 200, body: viewRefund(of, refund) }
        }
        if (path === '/v1/refunds') {
          const of = ledger.byId(query.get('payment_intent') ?? '')
          return { status: 200, body: { object: 'list', data: (of?.refunds ?? []).map((refund) => viewRefund(of as FakeCharge, refund)), has_more: false } }
        }
        return missing
      },
      event: (charge, seq) => {
        const type = {
          captured: 'succeeded',
          declined: 'payment_failed',
          pending: 'processing',
          authorized: 'amount_capturable_updated',
          released: 'canceled',
        }[charge.status as 'captured']
        return sign({ id: `evt_${charge.id}_${seq}`, object: 'event', type: `payment_intent.${type ?? 'updated'}`, data: { object: view(charge) } })
      },
    },
    ledger,
  )
  url = fake.url
  return {
    ...withFake(fake),
    provider: 'stripe' as const,
    credentials: { secretKey: 'sk_test_1' },
    webhookSecret: WEBHOOK_SECRET as string | undefined,
    hooks,
    /** From now on it signs as this webhook does; without one as in the beginning. */
    signAs: (hook?: FakeWebhook) => {
      secret = hook?.secret ?? WEBHOOK_SECRET
    },
    baseUrlVariable: 'STRIPE_URL',
    token: (word: string) => `cus_1/pm_${word}`,
    eventOf: (charge: FakeCharge) => sign({ id: `evt_${charge.id}`, object: 'event', type: 'payment_intent.updated', data: { object: view(charge) } }),
    unknownEvent: () => sign({ id: 'evt_unknown_type', object: 'event', type: 'customer.source.expiring', data: { object: { object: 'card' } } }),
    disputeEvent: (charge: FakeCharge, status: 'open' | 'won' | 'lost') =>
      sign({
        id: `evt_dispute_${charge.id}_${status}`,
        object: 'event',
        type: status === 'open' ? 'charge.dispute.created' : 'charge.dispute.closed',
        data: {
          object: {
            id: `dp_${charge.id}`,
            object: 'dispute',
            amount: charge.amount,
            currency: charge.currency.toLowerCase(),
            payment_intent: charge.id,
            reason: 'fraudulent',
            status: status === 'open' ? 'needs_response' : status,
            evidence_details: { due_by: 1_900_000_000 },
          },
        },
      }),
    refundFailedEvent: (charge: FakeCharge) => {
      const refund = charge.refunds[0] as FakeCharge['refunds'][number]
      const object = { ...viewRefund(charge, refund), status: 'failed', failure_reason: 'lost_or_stolen_card' }
      return sign({ id: `evt_refund_${charge.id}`, object: 'event', type: 'refund.failed', data: { object } })
    },
    staleEvent: (charge: FakeCharge) => {
      const body = JSON.stringify({ id: 'evt_stale', object: 'event', type: 'payment_intent.succeeded', data: { object: view(charge) } })
      const timestamp = Math.floor(Date.now() / 1000) - 301
      return { headers: { 'stripe-signature': stripe.webhooks.generateTestHeaderString({ payload: body, secret, timestamp }) }, body }
    },
  }
}

/** The stand-in itself, under one name, so that its getters and setters stay its own. */
export const withFake = <F>(fake: F): { fake: F } => ({ fake })
