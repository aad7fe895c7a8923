/** A key of an entitlement is of one kind in a storefront: in all bundles, in all versions, and of two made at once. */
import test from 'ava'
import { inWorlds } from '../support/in-worlds.ts'
import { bundleDocument } from '../support/platform-model.ts'
import { openShop } from '../support/shop.ts'

/** Each round is a race anew. */
const ROUNDS = 20

const flag = (key: string) => ({ key, kind: 'flag' })
const quota = (key: string) => ({ key, kind: 'quota', limit: 5, per: 'day' })

inWorlds(test, (story) => {
  const bundle = (id: string, entitlements: object[], storefrontId = 'us-store') => ({
    ...bundleDocument,
    id,
    storefrontId,
    pricing: { ...bundleDocument.pricing, currency: storefrontId === 'us-store' ? 'USD' : 'EUR' },
    entitlements,
  })

  story('a key that is a quota in one bundle is a quota in all, and in every version', async ({ t, tollgate }) => {
    const { api } = await openShop(t, tollgate)
    t.is((await api.post('/bundles', bundle('a', [flag('seats'), quota('calls')]))).status, 201)
    const other = await api.post('/bundles', bundle('b', [flag('new'), quota('seats'), flag('calls')]))
    t.like(other, { status: 400 })
    t.like(other.body, { code: 'invalid_request', field: 'entitlements[1].kind' })
    t.deepEqual(
      other.body.errors.map(({ field }: { field: string }) => field),
      ['entitlements[1].kind', 'entitlements[2].kind'],
    )
    t.regex(other.body.detail, /the bundle a has seats with that kind/)
    t.is((await api.post('/bundles', bundle('b', [quota('new')]))).status, 201, 'what is refused names no key')

    const next = await api.put('/storefronts/us-store/bundles/a', bundle('a', [quota('seats')]))
    t.like(next.body, { code: 'invalid_request', field: 'entitlements[0].kind' })
    t.regex(next.body.detail, /this bundle has seats with that kind/)
    t.is((await api.put('/storefronts/us-store/bundles/a', bundle('a', [quota('calls')]))).status, 200)
    t.is((await api.put('/storefronts/us-store/bundles/a', bundle('a', [quota('seats')]))).status, 400, 'a key that it has lost keeps its kind')
    t.is((await api.post('/bundles', bundle('a', [quota('seats')], 'eu-store'))).status, 201, 'another storefront has keys of its own')
  })

  story('a bundle that is refused for another reason gives no kind to a key', async ({ t, tollgate }) => {
    const { api } = await openShop(t, tollgate)
    t.is((await api.post('/bundles', bundle('pro-plan', [quota('fresh')]))).body.code, 'already_exists')
    t.is((await api.post('/bundles', { ...bundle('x', [quota('fresh')]), pricing: { ...bundleDocument.pricing, currency: 'EUR' } })).status, 400)
    t.is((await api.post('/bundles', bundle('y', [flag('fresh')]))).status, 201)
  })

  story(`of two bundles made at the same moment with one key of two kinds one is refused, ${ROUNDS} times`, async ({ t, tollgate }) => {
    const { api } = await openShop(t, tollgate)
    for (let round = 0; round < ROUNDS; round += 1) {
      const key = `key${round}`
      const answers = await Promise.all([
        api.post('/bundles', bundle(`f${round}`, [flag(key)])),
        api.post('/bundles', bundle(`q${round}`, [quota(key)])),
        api.put('/storefronts/us-store/bundles/pro-plan', bundle('pro-plan', [{ key, kind: 'capacity', limit: 1 }])),
      ])
      t.is(answers.filter(({ status }) => status < 300).length, 1, JSON.stringify(answers.map(({ body }) => body)))
      for (const { status, body } of answers) if (status >= 300) t.is(body.field, 'entitlements[0].kind')
    }
  })
})
