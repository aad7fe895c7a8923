/** A caller that has bought something and asks with the revision it was told sees it, every time. */
import test from 'ava'
import { inWorlds } from '../support/in-worlds.ts'
import { openShop } from '../support/shop.ts'

/** What the product promises is shown a thousand times where it is meant to be fast, and enough elsewhere. */
const times = (world: string) => (world.startsWith('MongoDB') ? 100 : 1_000)
const AT_ONCE = 8

inWorlds(test, (story, world) => {
  story(`${times(world.name)} times: subscribe, then check with the returned revision: all allowed, none stale`, async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate)
    const buyers = Array.from({ length: times(world.name) }, (_, n) => `buyer-${n}`)
    let [allowed, stale] = [0, 0]
    const buyOneAfterAnother = async () => {
      for (let customerId = buyers.pop(); customerId; customerId = buyers.pop()) {
        const { body } = await shop.subscribe(customerId)
        const answer = await grpc.check({
          tenantId: shop.tenantId,
          storefrontId: 'us-store',
          customerId,
          entitlement: 'analytics_dashboard',
          minRevision: body.entitlementRevision,
        })
        if (answer.allowed) allowed += 1
        if (answer.stale) stale += 1
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, buyOneAfterAnother))
    t.is(allowed, times(world.name))
    t.is(stale, 0)
  })

  story('a check with the new revision sees the change, also if an earlier check saw the old state', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate)
    for (let n = 0; n < times(world.name) / 20; n += 1) {
      const question = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: `early-${n}`, entitlement: 'analytics_dashboard' }
      // The sidecar learns that there is no such customer, and has to unlearn it.
      t.false((await grpc.check(question)).allowed)
      const { body } = await shop.subscribe(question.customerId)
      t.true((await grpc.check({ ...question, minRevision: body.entitlementRevision })).allowed)
      const canceled = await shop.api.post(`/subscriptions/${body.id}/cancel`, { at: 'now' })
      t.false((await grpc.check({ ...question, minRevision: canceled.body.entitlementRevision })).allowed)
    }
  })
})
