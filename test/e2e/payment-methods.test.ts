/** What becomes of a customer's payment methods, and of what is paid with them. */
import test from 'ava'
import { openBilling } from '../support/billing.ts'
import { eventually } from '../support/eventually.ts'
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
      t.regex(refused.body.detail, new RegExp(`visa cannot be removed: the subscription ${subscription.id} is paid with it; first PATCH`), name)
    }
    t.is((await api.get(at)).body.paymentMethods.length, 2)
    t.is((await api.call('DELETE', `${at}/payment-methods/none`)).status, 404)
    t.is((await api.call('DELETE', `${at}/payment-methods/visa`, undefined, { 'if-match': '"1"' })).status, 412, 'whoever has read an old list is told so')

    t.is((await api.patch(`/subscriptions/${subscription.id}`, { paymentMethod: 'amex' })).status, 200)
    t.is((await api.call('DELETE', `${at}/payment-methods/visa`)).status, 200)
    t.is((await api.post(`/subscriptions/${subscription.id}/cancel`, { at: 'now' })).status, 200)
    t.deepEqual((await api.patch(at, { paymentMethods: [] })).body.paymentMethods, [], 'what has ended uses none')
  })

  story('a card that is renewed under its own id pays at once what it could not, by every door', async (world) => {
    const { t, buy, clock, read, payments, bills, shop, access } = await openBilling(world, { billing: { graceHours: 36 } })
    const at = (customer: string) => `/storefronts/us-store/customers/${customer}`
    const good = { '*': 'pm_good' }
    const doors: Record<string, (customer: string) => ReturnType<typeof shop.api.patch>> = {
      token: (customer) => shop.api.patch(`${at(customer)}/payment-methods/visa`, { tokens: good }),
      list: (customer) => shop.api.patch(at(customer), { paymentMethods: [card('amex'), { id: 'visa', tokens: good }] }),
    }
    const ids: Record<string, string> = {}
    for (const customer of [...Object.keys(doors), 'position']) {
      await shop.api.post('/customers', { id: customer, storefrontId: 'us-store', paymentMethods: [card('visa', 'pm_good'), card('amex')] })
      ids[customer] = (await buy({ customerId: customer, paymentMethod: 'visa' })).id
      await shop.api.patch(`${at(customer)}/payment-methods/visa`, { tokens: { '*': 'pm_decline_credential' } })
    }
    await clock('2024-02-02T13:00:00Z')
    for (const [customer, id] of Object.entries(ids)) {
      t.like(await read(id), { status: 'suspended' }, customer)
      await access(false, customer)
    }
    t.is((await shop.api.patch(`${at('position')}/payment-methods/visa`, { position: 1 })).status, 200)
    t.like(await read(ids.position as string), { status: 'suspended' }, 'another place in the order renews nothing')
    for (const [name, door] of Object.entries(doors)) {
      const id = ids[name] as string
      const changed = await door(name)
      t.is(changed.status, 200, JSON.stringify(changed.body))
      t.like(await read(id), { status: 'active', paymentMethod: 'visa' }, name)
      t.deepEqual(
        (await payments(id)).map(([start, , status]) => [start, status]),
        [
          ['2024-01-01', 'succeeded'],
          ['2024-02-01', 'succeeded'],
        ],
      )
      await access(true, name)
      const made = (await bills(id))[1].attempts.length
      const { body, headers } = await shop.api.get(at(name))
      t.is(headers.get('etag'), changed.headers.get('etag'), 'the answer shows what is stored')
      await shop.api.patch(at(name), { name: 'somebody', paymentMethods: [card('amex'), { id: 'visa', tokens: good }] })
      t.is((await bills(id))[1].attempts.length, made, 'the same card told again is not tried again')
      t.is(body.paymentMethods.length, 2)
    }
  })

  story('a first payment is made with the renewed card too, as is every other of the customer that is overdue', async (world) => {
    const { t, buy, read, shop, kept } = await openBilling(world)
    const at = '/storefronts/us-store/customers/c/payment-methods/visa'
    await shop.api.post('/customers', {
      id: 'c',
      storefrontId: 'us-store',
      paymentMethods: [card('visa', 'pm_decline_hard'), card('amex', 'pm_decline_hard')],
    })
    const ids: string[] = []
    for (let n = 0; n < 12; n += 1) ids.push((await buy({ paymentMethod: 'visa' })).id)
    const other = (await buy({ paymentMethod: 'amex' })).id
    for (const id of ids) t.like(await read(id), { status: 'incomplete' })
    t.is((await shop.api.patch(at, { tokens: { '*': 'pm_good' } })).status, 200)
    t.is(
      (await Promise.all(ids.map(async (id) => (await read(id)).status))).filter((status) => status === 'active').length >= 10,
      true,
      'so many are waited for',
    )
    // The others are the worker's, a few seconds later.
    await eventually(async () => (await Promise.all(ids.map(async (id) => (await read(id)).status))).every((status) => status === 'active'))
    t.like(await read(other), { status: 'incomplete' })
    t.is(await kept(), 12 * 2900)
  })

  story('a payment with a token alone adds no method to its customer, however many there are; a method is named by its id', async ({ t, tollgate }) => {
    const { api, setClock } = await openShop(t, tollgate)
    const at = '/storefronts/us-store/customers/c'
    const pay = (change: object) => api.post('/payments', { storefrontId: 'us-store', customerId: 'c', amount: 100, currency: 'USD', ...change })
    for (let n = 0; n < 60; n += 1) {
      const { body, status } = await pay({ paymentMethod: `tok_once_${n}` })
      t.is(status, 201, JSON.stringify(body))
      t.is(body.status, 'succeeded')
    }
    t.deepEqual((await api.get(at)).body.paymentMethods, [])
    t.is((await pay({})).body.field, 'paymentMethod', 'none of them has become the default')
    await api.post(`${at}/payment-methods`, card('visa'))
    t.like((await pay({})).body.attempts[0], { paymentMethod: 'visa', status: 'succeeded' })
    t.like((await pay({ paymentMethod: 'visa' })).body.attempts[0], { paymentMethod: 'visa' })
    t.is((await api.get(at)).body.paymentMethods.length, 1)

    const waiting = await pay({ paymentMethod: 'tok_pending_3d' })
    t.is(waiting.body.status, 'processing')
    t.false(JSON.stringify((await api.get('/payments?limit=500')).body).includes('tok_'), 'no answer shows a token')
    await setClock('2024-03-19T00:00:00Z')
    t.is((await api.get(`/payments/${waiting.body.id}`)).body.status, 'succeeded')
  })
})
