/** A bank that speaks docs/local-psp-protocol.md, as a bank's team would write it. */
import { Webhook } from 'standardwebhooks'
import { createFakeLedger, type FakeAnswer, type FakeCharge, refundable, startFakePsp, statusOf } from './fake-psp.ts'
import { withFake } from './stripe.ts'

const REQUEST_SECRET = `whsec_${Buffer.from('requests-to-the-bank-are-signed-so').toString('base64')}`
const EVENT_SECRET = `whsec_${Buffer.from('events-of-the-bank-are-signed-so!!').toString('base64')}`

export const startFakeBank = async () => {
  const ledger = createFakeLedger('bank-')
  const events = new Webhook(EVENT_SECRET)
  let url = ''
  const statuses: Record<FakeCharge['status'], string> = {
    captured: 'succeeded',
    authorized: 'authorized',
    pending: 'pending',
    requires_action: 'requires_action',
    declined: 'declined',
    released: 'released',
    strange: 'on_the_desk_of_the_manager',
  }
  const view = (charge: FakeCharge) => ({
    reference: charge.reference,
    id: charge.id,
    amount: charge.amount,
    currency: charge.currency,
    status: statuses[charge.status],
    ...(charge.code ? { declineClass: charge.code, declineCode: charge.code } : {}),
    ...(charge.status === 'requires_action' ? { actionUrl: `${url}/3ds/${charge.id}` } : {}),
  })
  const sign = (event: { id: string }, at = new Date()) => {
    const body = JSON.stringify(event)
    const timestamp = String(Math.floor(at.getTime() / 1000))
    return { headers: { 'webhook-id': event.id, 'webhook-timestamp': timestamp, 'webhook-signature': events.sign(event.id, at, body) }, body }
  }
  let knowsCancel = true
  const refunds = new Map<string, FakeCharge['refunds'][number]>()

  const handle = (body: string): FakeAnswer => {
    const order = JSON.parse(body)
    const charge = ledger.charges.get(order.action === 'refund' ? order.charge : order.reference)
    switch (order.action) {
      case 'charge': {
        if (charge) return { status: 200, body: view(charge) }
        const { reference, amount, currency, token, capture } = order
        return { status: 200, body: view(ledger.add({ reference, id: ledger.nextId(), amount, currency, ...statusOf(token, capture === 'separate') })) }
      }
      case 'capture':
      case 'release':
        if (!charge) return { status: 404 }
        if (charge.status === 'authorized') charge.status = order.action === 'capture' ? 'captured' : 'released'
        return { status: 200, body: view(charge) }
      case 'cancel':
        if (!knowsCancel) return { status: 404 }
        if (charge?.status === 'requires_action') Object.assign(charge, { status: 'declined', code: 'action_required' })
        return charge ? { status: 200, body: view(charge) } : { status: 404 }
      case 'inquire':
        return charge ? { status: 200, body: view(charge) } : { status: 404, body: {} }
      case 'refund': {
        const known = refunds.get(order.reference)
        if (known) return { status: 200, body: { reference: known.reference, status: known.status } }
        if (!charge || order.amount > refundable(charge)) return { status: 422, body: { error: 'the charge has not that much left' } }
        const refund = { reference: order.reference, id: order.reference, amount: order.amount, status: 'succeeded' as const }
        refunds.set(order.reference, refund)
        charge.refunds.push(refund)
        return { status: 200, body: { reference: refund.reference, status: refund.status } }
      }
      case 'inquire_refund': {
        const known = refunds.get(order.reference)
        return known ? { status: 200, body: { reference: known.reference, status: known.status } } : { status: 404, body: {} }
      }
      default:
        return { status: 400, body: { error: 'no such action' } }
    }
  }

  const fake = await startFakePsp(
    {
      name: 'local',
      isCharge: ({ body }) => body.includes('"action":"charge"'),
      isOperation: ({ body }) => /"action":"(capture|release|cancel)"/.test(body),
      refusal: { status: 422, body: {} },
      keyOf: ({ body }) => {
        const { action, reference } = JSON.parse(body)
        return action === 'charge' ? reference : undefined
      },
      rateLimited: { status: 429, body: {} },
      failed: { status: 500, body: {} },
      handle: ({ body, headers }) => {
        const at = new Date(Number(headers['webhook-timestamp']) * 1000)
        if (new Webhook(REQUEST_SECRET).sign(headers['webhook-id'] ?? '', at, body) !== headers['webhook-signature']) return { status: 401, body: {} }
        return handle(body)
      },
      event: (charge, seq) => sign({ id: `evt-${charge.id}-${seq}`, type: 'charge.updated', charge: view(charge) } as { id: string }),
    },
    ledger,
  )
  url = fake.url
  return {
    ...withFake(fake),
    provider: 'local' as const,
    credentials: { url: `${fake.url}/tollgate`, secret: REQUEST_SECRET },
    webhookSecret: EVENT_SECRET as string | undefined,
    baseUrlVariable: undefined,
    /** As banks were before the protocol had `cancel`. */
    forgetCancel: () => {
      knowsCancel = false
    },
    token: (word: string) => `account_${word}`,
    eventOf: (charge: FakeCharge) => sign({ id: `evt-${charge.id}`, type: 'charge.updated', charge: view(charge) } as { id: string }),
    unknownEvent: () => sign({ id: 'evt-unknown', type: 'statement.ready' } as { id: string }),
    disputeEvent: (charge: FakeCharge, status: 'open' | 'won' | 'lost') =>
      sign({
        id: `evt-dispute-${charge.id}-${status}`,
        type: 'dispute.updated',
        dispute: { id: `d-${charge.id}`, reference: charge.reference, status, amount: charge.amount, currency: charge.currency, reason: 'not authorised' },
      } as { id: string }),
    refundFailedEvent: (charge: FakeCharge) =>
      sign({
        id: `evt-refund-${charge.id}`,
        type: 'refund.updated',
        refund: { reference: charge.refunds[0]?.reference, status: 'failed', code: 'account_closed' },
      } as {
        id: string
      }),
    staleEvent: (charge: FakeCharge) =>
      sign({ id: 'evt-stale', type: 'charge.updated', charge: view(charge) } as { id: string }, new Date(Date.now() - 301_000)),
  }
}
