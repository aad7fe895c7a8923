/** Words for billing stories: set the clock, do, expect, advance. */
import type { ExecutionContext } from 'ava'
import { eventually } from './eventually.ts'
import type { InWorld } from './in-worlds.ts'
import { ledgerOf } from './ledger.ts'
import { openShop, type Shop } from './shop.ts'

// biome-ignore lint/suspicious/noExplicitAny: answers of every shape.
type Body = any

export interface Billing {
  shop: Shop
  t: ExecutionContext
  /** Subscribes customer `c` (or another) to the Pro Plan, and expects that it works. */
  buy(change?: object): Promise<Body>
  read(id: string): Promise<Body>
  /** A command on a subscription: `tell(id, 'cancel', {at: 'now'})`. */
  tell(id: string, command: string, body?: object): Promise<Body>
  /** As `tell`, expecting to be refused with this status. @returns the problem. */
  refused(id: string, command: string, body: object, status?: number): Promise<Body>
  pay(id: string, paymentMethod: string): Promise<Body>
  /** Moves the clock. @param news types of the timeline's new entries, of each subscription in turn: these happened, and nothing else. */
  clock(now: string, news?: string[]): Promise<void>
  /** Each payment as `[period start, amount, status]`. */
  payments(id: string): Promise<[string, number, string][]>
  /** Each payment in full, oldest first. */
  bills(id: string): Promise<Body[]>
  /** What the provider has kept: charges less the refunds that were made and what disputes took, in minor units. */
  kept(): Promise<number>
  /** Waits until the sidecar's answer for `analytics_dashboard` is this. */
  access(allowed: boolean, customerId?: string): Promise<void>
  events(id: string): Promise<string[]>
}

export interface BillingOptions {
  now?: string
  bundle?: object
  billing?: object
  timeZone?: string
  currency?: string
  /** More bundles, by id: the Pro Plan with these changes. */
  bundles?: Record<string, object>
}

/** The timelines of most stories are about other things. */
const noNotices = { trialNoticeDays: 0, renewalNoticeDays: 0 }

export const openBilling = async ({ t, tollgate, grpc }: InWorld, options: BillingOptions = {}): Promise<Billing> => {
  const { now = '2024-01-01T00:00:00Z', bundle, billing, timeZone = 'UTC', currency = 'USD', bundles = {} } = options
  const storefronts = [{ id: 'us-store', currency, timeZone, paymentProviders: ['stripe', 'paypal'], billing: { ...noNotices, ...billing } }]
  const shop = await openShop(t, tollgate, { now, tenant: { storefronts }, ...(bundle ? { bundle } : {}) })
  const { api, tenantId } = shop
  const ok = (answer: { status: number; body: Body }): Body => {
    t.true(answer.status < 300, JSON.stringify(answer.body))
    return answer.body
  }
  const proPlan = ok(await api.get('/storefronts/us-store/bundles/pro-plan'))
  for (const [id, change] of Object.entries(bundles)) {
    const { version: _, rollout: __, ...content } = proPlan
    ok(await api.post('/bundles', { ...content, id, ...change }))
  }
  const bills = async (id: string): Promise<Body[]> => ok(await api.get(`/payments?subscriptionId=${id}&limit=500`)).data
  const events = async (id: string): Promise<string[]> =>
    ok(await api.get(`/subscriptions/${id}/timeline?limit=500`)).data.map(({ type }: { type: string }) => type)
  const bought: string[] = []
  const recorded = () => Promise.all(bought.map(events))
  return {
    shop,
    t,
    buy: async (change = {}) => {
      const subscription = ok(
        await api.post('/subscriptions', { customerId: 'c', bundleId: 'pro-plan', storefrontId: 'us-store', paymentMethod: 'pm_card', ...change }),
      )
      bought.push(subscription.id)
      return subscription
    },
    read: async (id) => ok(await api.get(`/subscriptions/${id}`)),
    tell: async (id, command, body = {}) => ok(await api.post(`/subscriptions/${id}/${command}`, body)),
    refused: async (id, command, body, status = 409) => {
      const before = ok(await api.get(`/subscriptions/${id}`))
      const answer = await api.post(`/subscriptions/${id}/${command}`, body)
      t.is(answer.status, status, JSON.stringify(answer.body))
      t.deepEqual(ok(await api.get(`/subscriptions/${id}`)), before, 'what is refused changes nothing')
      return answer.body
    },
    pay: async (id, paymentMethod) => ok(await api.patch(`/subscriptions/${id}`, { paymentMethod })),
    clock: async (at, news) => {
      const before = news ? await recorded() : []
      ok(await shop.setClock(at))
      if (news === undefined) return
      const after = await recorded()
      for (const [nth, types] of before.entries()) t.deepEqual(after[nth]?.slice(0, types.length), types, 'what is past does not change')
      t.deepEqual(
        after.flatMap((types, nth) => types.slice(before[nth]?.length)),
        news,
        `what happened until ${at}`,
      )
    },
    payments: async (id) => (await bills(id)).map((payment) => [payment.period.start.slice(0, 10), payment.amount, payment.status]),
    bills,
    kept: async () => {
      const { charges, refunds, disputes } = await ledgerOf(tollgate, tenantId)
      const sum = (list: { amount: number; status: string }[], wanted: string): number =>
        list.filter(({ status }) => status === wanted).reduce((total, { amount }) => total + amount, 0)
      return sum(charges, 'succeeded') - sum(refunds, 'succeeded') - sum(disputes, 'lost')
    },
    access: (allowed, customerId = 'c') =>
      eventually(async () => (await grpc.check({ tenantId, storefrontId: 'us-store', customerId, entitlement: 'analytics_dashboard' })).allowed === allowed),
    events,
  }
}
