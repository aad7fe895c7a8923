/** What sidecars could not be told is not sold. */
import test from 'ava'
import { eventually } from '../support/eventually.ts'
import { inWorlds } from '../support/in-worlds.ts'
import { openShop } from '../support/shop.ts'

const pricing = { amount: 100, currency: 'USD', interval: 'month' }
/** About 200 KB for whoever holds it. */
const large = (name: string) => ({
  name,
  storefrontId: 'us-store',
  pricing,
  entitlements: Array.from({ length: 200 }, (_, n) => ({ key: `${name}_${n}`, kind: 'value', value: 'x'.repeat(1_000) })),
})

inWorlds(test, (story) => {
  story('a sale that would make a set too large is refused, however it is requested, and every sold bundle still answers', async ({ t, tollgate, grpc }) => {
    const { api, tenantId } = await openShop(t, tollgate)
    const names = ['a', 'b', 'c', 'd', 'e', 'f']
    for (const name of names) t.is((await api.post('/bundles', { ...large(name), id: name })).status, 201)
    const small = await api.post('/bundles', { ...large('small'), id: 'small', entitlements: [{ key: 'tiny', kind: 'flag' }] })
    t.is(small.status, 201)
    const buy = (bundleId: string) => api.post('/subscriptions', { customerId: 'c', bundleId, storefrontId: 'us-store', paymentMethod: 'pm_card' })
    const bought: string[] = []
    let refused: Awaited<ReturnType<typeof buy>> | undefined
    for (const name of names) {
      const answer = await buy(name)
      if (answer.status === 201) bought.push(name)
      else {
        refused = answer
        break
      }
    }
    t.like(refused, { status: 422, body: { code: 'set_too_large' } })
    t.true(bought.length >= 3)
    const tiny = await buy('small')
    t.is(tiny.status, 201, JSON.stringify(tiny.body))
    const grown = { bundleId: names[bought.length] }
    t.like(await api.post(`/subscriptions/${tiny.body.id}/change`, grown), { status: 422, body: { code: 'set_too_large' } })
    t.like(await api.post(`/subscriptions/${tiny.body.id}/preview-change`, grown), { status: 422, body: { code: 'set_too_large' } })
    const known = (await api.get('/storefronts/us-store/bundles/small')).body
    const { version: _, rollout: __, id: ___, storefrontId: ____, ...content } = known
    t.is((await api.put('/storefronts/us-store/bundles/small', { ...content, entitlements: large('more').entitlements, applyTo: 'all' })).status, 200)
    await eventually(async () => (await api.get('/storefronts/us-store/bundles/small')).body.rollout?.finishedAt)
    t.like((await api.get(`/subscriptions/${tiny.body.id}`)).body, { bundleVersion: 1 }, 'whom nobody could tell of it stays on the version that they have')
    for (const entitlement of [...bought.map((name) => `${name}_199`), 'tiny']) {
      t.like(await grpc.check({ tenantId, storefrontId: 'us-store', customerId: 'c', entitlement }), { allowed: true, stale: false })
    }
  })
})
