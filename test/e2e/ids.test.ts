/** Ids in the scripts of the world: what is taken, what is refused and why, and that both processes hold the longest. */
import test from 'ava'
import { Reason } from '../../proto/gen/entitlement/v1/entitlement.ts'
import { inWorlds } from '../support/in-worlds.ts'
import { openShop } from '../support/shop.ts'

const names = {
  Hindi: 'हिन्दी-ग्राहक',
  Thai: 'ลูกค้าที่ดี',
  Tamil: 'வாடிக்கையாளர்',
  Vietnamese: 'nguyễn@example.vn',
  Korean: '고객',
  // A letter and a mark of four bytes each in UTF-8, two UTF-16 units each.
  'as long as an id may be, in Brahmi': '\u{11013}\u{11038}'.repeat(64),
}

inWorlds(test, (story) => {
  story('a customer may be called in any script, marks and all, at the control plane and at the sidecar', async ({ t, tollgate, grpc }) => {
    const { api, subscribe, tenantId } = await openShop(t, tollgate)
    for (const [script, customerId] of Object.entries(names)) {
      t.true([...customerId].length <= 128, script)
      const bought = await subscribe(customerId)
      t.is(bought.status, 201, `${script}: ${JSON.stringify(bought.body)}`)
      const at = `/storefronts/us-store/customers/${encodeURIComponent(customerId)}`
      t.is((await api.get(at)).body.id, customerId, script)
      const question = { tenantId, storefrontId: 'us-store', customerId, entitlement: 'analytics_dashboard' }
      t.is((await grpc.check({ ...question, minRevision: bought.body.entitlementRevision })).reason, Reason.REASON_GRANTED, script)
      t.is((await api.call('DELETE', `${at}?cancel=now`)).body.finished, true, script)
    }
  })

  story('one of two spellings of one id is refused, with the reason; capitals make another id', async ({ t, tollgate }) => {
    const { api } = await openShop(t, tollgate)
    const make = (id: string) => api.post('/customers', { id, storefrontId: 'us-store' })
    const composed = 'josé@example.com'.normalize('NFC')
    t.is((await make(composed)).status, 201)
    for (const other of ['josé@example.com'.normalize('NFD'), 'हिन्दी \u0958'.replace(' ', '-'), '\u212Bngström']) {
      const refused = await make(other)
      t.is(refused.status, 400, other)
      t.is(refused.body.field, 'id')
      t.regex(refused.body.detail, /normal form NFC/)
      t.is((await api.get(`/storefronts/us-store/customers/${encodeURIComponent(other)}`)).body.field, 'customer')
    }
    for (const wrong of ['\u0301e', 'a\u200db', 'a b', `${names.Thai}/`, `${'\u{11013}\u{11038}'.repeat(64)}a`]) {
      t.regex((await make(wrong)).body.detail, /must be 1 to 128 letters \(with their marks\)/, JSON.stringify(wrong))
    }
    for (const id of ['john@x', 'John@x']) t.is((await make(id)).status, 201, id)
    t.is((await api.get('/storefronts/us-store/customers')).body.data.length, 3)
  })
})
