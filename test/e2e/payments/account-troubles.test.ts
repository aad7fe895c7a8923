/** A provider that refuses an account's credentials: payments go elsewhere, and it is told once. */
import test from 'ava'
import { openBilling } from '../../support/billing.ts'
import { eventually } from '../../support/eventually.ts'
import { inWorlds } from '../../support/in-worlds.ts'

inWorlds(test, (story) => {
  story('credentials that a provider refuses are told once, and again after they were changed', async (world) => {
    const { t, buy, bills, shop } = await openBilling(world)
    const { api } = shop
    t.is((await api.post('/psp-accounts', { id: 'stripe', provider: 'stripe', credentials: { apiKey: 'sk_wrong' } })).status, 201)
    const told = async () => (await api.get('/events?types=psp_account.credentials_failed')).body.data
    for (const customerId of ['a', 'b', 'c']) {
      const { id } = await buy({ customerId, paymentMethod: 'pm_wrong_credentials_at_stripe' })
      const [bill] = await bills(id)
      t.is(bill.status, 'succeeded')
    }
    await eventually(async () => (await told()).length > 0)
    t.like((await told())[0], {
      subject: '/psp-accounts/stripe',
      data: { id: 'stripe', provider: 'stripe', trouble: 'credentials_failed', why: 'the provider refused them with http_401', until: null },
    })
    t.is((await told()).length, 1)
    t.is((await api.patch('/psp-accounts/stripe', { credentials: { apiKey: 'sk_wrong_too' } })).status, 200)
    t.is((await told()).length, 1)
    for (const customerId of ['d', 'e', 'f', 'g', 'h', 'i']) await buy({ customerId, paymentMethod: 'pm_wrong_credentials_at_stripe' })
    await eventually(async () => (await told()).length > 1)
    t.is((await told()).length, 2)
  })
})
