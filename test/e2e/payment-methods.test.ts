/** What becomes of a customer's payment methods, and of what is paid with them. */
import test from 'ava'
import { inWorlds } from '../support/in-worlds.ts'
import { openShop } from '../support/shop.ts'

const card = (id: string, token = `pm_${id}`) => ({ id, tokens: { '*': token } })

inWorlds(test, (story) => {
  story('a method that a subscription is paid with stays, whichever door somebody tries', async ({ t, tollgate }) => {
    const { api, subscribe } = await openShop(t, tollgate)
    await api.post('/customers', { id: 'c', storefrontId: 'us-store', paymentMethods: [card('visa'), card('amex')] })
    const { body: subscription } = await subscribe('c', 'visa')
    const at = '/storefronts/us-store/customers/c'
    const doors = {
      'its own': () => api.call('DELETE', `${at}/payment-methods/visa`),
      'a list without it': () => api.patch(at, { paymentMethods: [card('amex')] }),
      'an empty list': () => api.patch(at, { paymentMethods: [] }),
    }
    for (const [name, door] of Object.entries(doors)) {
      const refused = await door()
      t.is(refused.status, 409, name)
      t.is(refused.body.code, 'not_allowed_in_state', name)
      t.regex(refused.body.detail, new RegExp(`visa cannot be taken away: the subscription ${subscription.id} is paid with it; PATCH`), name)
    }
    t.is((await api.get(at)).body.paymentMethods.length, 2)
    t.is((await api.call('DELETE', `${at}/payment-methods/none`)).status, 404)
    t.is((await api.call('DELETE', `${at}/payment-methods/visa`, undefined, { 'if-match': '"1"' })).status, 412, 'whoever has read an old list is told so')

    t.is((await api.patch(`/subscriptions/${subscription.id}`, { paymentMethod: 'amex' })).status, 200)
    t.is((await api.call('DELETE', `${at}/payment-methods/visa`)).status, 200)
    t.is((await api.post(`/subscriptions/${subscription.id}/cancel`, { at: 'now' })).status, 200)
    t.deepEqual((await api.patch(at, { paymentMethods: [] })).body.paymentMethods, [], 'what has ended uses none')
  })
})
