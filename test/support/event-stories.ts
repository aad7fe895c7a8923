/** Lives in a sandbox in which events of every type occur. */
import type { ExecutionContext } from 'ava'
import type { EventEnvelope } from '../../control-plane/events/envelope.ts'
import { type EventType, eventTypes } from '../../control-plane/events/event-types.ts'
import { eventually } from './eventually.ts'
import { bundleDocument } from './platform-model.ts'
import { openShop } from './shop.ts'
import type { Tollgate } from './tollgate.ts'
import { openWebhookReceiver } from './webhook-receiver.ts'

/** What does not occur in a sandbox, or is not in the log: it has no circuits, and a test message is sent at once. The stories fail when one of them occurs. */
export const notLogged: readonly EventType[] = ['psp_account.circuit_open', 'webhook_endpoint.test']

export type EventExamples = Partial<Record<string, EventEnvelope>>

const must = (holds: boolean, what: string): void => {
  if (!holds) throw new Error(what)
}
const check = { is: (a: unknown, b: unknown, why = 'it is another one') => must(a === b, why) } as unknown as ExecutionContext

/** @returns the first event of each type, in the order of the catalogue. */
export const liveThroughEvents = async (tollgate: Tollgate): Promise<EventExamples> => {
  const { pricing } = bundleDocument
  const calls = (limit: number) => ({ key: 'calls', kind: 'quota', limit, per: 'month', overage: 'allow', warnAt: [80] })
  const shop = await openShop(check, tollgate, {
    now: '2024-01-01T00:00:00Z',
    bundle: {
      entitlements: [calls(100), ...bundleDocument.entitlements.slice(1)],
    },
  })
  const { api } = shop
  const ok = async (answer: ReturnType<typeof api.post>) => {
    const { status, body } = await answer
    must(status < 300, `${status} ${JSON.stringify(body)}`)
    return body
  }
  const sell = (id: string, change: object) => ok(api.post('/bundles', { ...bundleDocument, id, ...change }))
  const buy = async (customerId: string, paymentMethod = 'pm_card', bundleId = 'pro-plan'): Promise<string> =>
    (await ok(api.post('/subscriptions', { customerId, bundleId, storefrontId: 'us-store', paymentMethod }))).id
  const tell = (id: string, command: string, body: object = {}) => ok(api.post(`/subscriptions/${id}/${command}`, body))
  const useCard = (id: string, paymentMethod: string) => ok(api.patch(`/subscriptions/${id}`, { paymentMethod }))
  const charge = (paymentMethod: string) =>
    ok(api.post('/payments', { storefrontId: 'us-store', customerId: 'ann', amount: 4900, currency: 'USD', paymentMethod }))
  const clock = (now: string) => ok(shop.setClock(now))
  const refund = async (paymentMethod: string) => api.post(`/payments/${(await charge(paymentMethod)).id}/refund`, {})

  await sell('max-plan', { pricing: { ...pricing, amount: 9900 }, entitlements: [calls(1_000), ...bundleDocument.entitlements.slice(1)] })
  await sell('trial-plan', { trialDays: 14 })
  await ok(api.patch('/storefronts/us-store/bundles/max-plan', { name: 'Max Plan' }))
  await ok(api.post('/customers', { id: 'ann', storefrontId: 'us-store', email: 'ann@example.com' }))
  await ok(api.patch('/storefronts/us-store/customers/ann', { name: 'Ann' }))
  await ok(api.post('/customers', { id: 'gone', storefrontId: 'us-store', email: 'gone@example.com' }))
  await ok(api.call('DELETE', '/storefronts/us-store/customers/gone'))

  // Nobody is there any more.
  await using gone = await openWebhookReceiver(undefined, (_, response) => void response.writeHead(410).end())
  await ok(api.post('/webhook-endpoints', { url: gone.url, types: ['bundle.*'] }))
  await ok(api.patch('/storefronts/us-store/bundles/max-plan', { name: 'The Max Plan' }))

  await ok(api.post('/psp-accounts', { id: 'stripe', provider: 'stripe', credentials: { apiKey: 'sk_wrong' } }))
  const ann = await buy('ann')
  await ok(api.post('/usage', { storefrontId: 'us-store', customerId: 'ann', entitlement: 'calls', amount: 120 }))
  await tell(ann, 'change', { bundleId: 'max-plan', at: 'period_end' })
  await tell(ann, 'change', { bundleId: 'pro-plan', at: 'period_end' })
  await tell(ann, 'change', { bundleId: 'max-plan', at: 'now' })
  await tell(ann, 'cancel', { at: 'period_end' })
  await tell(ann, 'reactivate')
  await tell(ann, 'pause', { what: 'collection' })
  await tell(ann, 'resume')
  const declined = await buy('ben')
  await useCard(declined, 'pm_decline_funds')
  await tell(declined, 'change', { bundleId: 'max-plan', at: 'now' })
  const paused = await buy('cleo')
  await tell(paused, 'pause')
  await tell(paused, 'resume')
  await tell(paused, 'pause')
  await buy('dan', 'pm_card', 'trial-plan')
  const { id: cardless } = await ok(api.post('/subscriptions', { customerId: 'gil', bundleId: 'trial-plan', storefrontId: 'us-store' }))
  const waiting = await buy('hana', 'pm_sca')
  await tell(waiting, 'cancel', { at: 'now' })
  await buy('eve', 'pm_decline_funds')
  const recovering = await buy('finn')
  await useCard(recovering, 'pm_decline_hard')
  for (const paymentMethod of ['pm_sca', 'pm_timeout', 'pm_dispute_won', 'pm_dispute_lost']) await charge(paymentMethod)
  await charge('pm_wrong_credentials_at_stripe')
  await refund('pm_card')
  await refund('pm_refund_fails')
  await clock('2024-01-20T00:00:00Z')
  // A trial without a card has ended in a pause.
  await useCard(cardless, 'pm_decline_hard')
  // Renewals: ann pays, ben and finn cannot, and finn gets another card.
  await clock('2024-02-02T00:00:00Z')
  await useCard(recovering, 'pm_card')
  // Grace is over, and then the last try.
  await clock('2024-03-20T00:00:00Z')
  await tell(ann, 'cancel', { at: 'now' })

  const report = (id: string, csv: string) => api.call('POST', `/settlement-reports/${id}/csv?account=paypal`, csv, { 'content-type': 'text/csv' })
  await report('2024-01', 'type,reference,currency,gross,fee,net\nfee,,USD,-1,0,-1\n')
  await report('2024-02', 'not,a,report\n1,2,3\n')

  const found = new Map<string, EventEnvelope>()
  const read = async (): Promise<boolean> => {
    for (let cursor = ''; ; ) {
      const page = await ok(api.get(`/events?limit=500${cursor && `&cursor=${cursor}`}`))
      for (const event of page.data as EventEnvelope[]) {
        // An erased one shows nothing of what the type is about.
        const isBetter = !found.has(event.type) && (event.data as { erased?: boolean }).erased === undefined
        if (isBetter) found.set(event.type, event)
      }
      if (!page.nextCursor) break
      cursor = page.nextCursor
    }
    return eventTypes.every((type) => found.has(type) || notLogged.includes(type))
  }
  await eventually(read).catch(() => {
    const missing = eventTypes.filter((type) => !found.has(type) && !notLogged.includes(type))
    throw new Error(`nothing made ${missing.join(', ')}`)
  })
  const made = notLogged.filter((type) => found.has(type))
  must(made.length === 0, `${made.join(', ')} occur: take them off the list`)
  return Object.fromEntries(eventTypes.filter((type) => found.has(type)).map((type) => [type, found.get(type)]))
}
