/** What happens to a first payment, for everything the simulator can be told to do. */
import test from 'ava'
import { Reason } from '../../../proto/gen/entitlement/v1/entitlement.ts'
import { eventually } from '../../support/eventually.ts'
import { httpClient } from '../../support/http-client.ts'
import { inWorlds } from '../../support/in-worlds.ts'
import { ledgerOf } from '../../support/ledger.ts'
import { openShop } from '../../support/shop.ts'

interface Attempt {
  account: string
  status: string
  declineClass: string | null
}

const attempts = (body: { payment: { attempts: Attempt[] } }) =>
  body.payment.attempts.map(({ account, status, declineClass }) => [account, declineClass ?? status])

inWorlds(test, (story) => {
  story('a charge that never left, a technical refusal and one soft decline go to the fallback; other declines do not', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const cases: [token: string, status: string, attempts: string[][]][] = [
      [
        'pm_refused_at_stripe',
        'active',
        [
          ['stripe', 'not_sent'],
          ['paypal', 'succeeded'],
        ],
      ],
      [
        'pm_decline_technical_at_stripe',
        'active',
        [
          ['stripe', 'technical'],
          ['paypal', 'succeeded'],
        ],
      ],
      [
        'pm_decline_issuer_soft_at_stripe',
        'active',
        [
          ['stripe', 'issuer_soft'],
          ['paypal', 'succeeded'],
        ],
      ],
      [
        'pm_decline_issuer_soft',
        'incomplete',
        [
          ['stripe', 'issuer_soft'],
          ['paypal', 'issuer_soft'],
        ],
      ],
      [
        'pm_decline_config_at_stripe',
        'active',
        [
          ['stripe', 'config'],
          ['paypal', 'succeeded'],
        ],
      ],
      ['pm_decline_funds', 'incomplete', [['stripe', 'funds']]],
      ['pm_decline_hard', 'incomplete', [['stripe', 'hard']]],
      ['pm_decline_credential', 'incomplete', [['stripe', 'credential']]],
      ['pm_decline_action_required', 'incomplete', [['stripe', 'action_required']]],
      [
        'pm_refused',
        'incomplete',
        [
          ['stripe', 'not_sent'],
          ['paypal', 'not_sent'],
        ],
      ],
      ['pm_decline_hard_at_paypal', 'active', [['stripe', 'succeeded']]],
    ]
    for (const [token, status, expected] of cases) {
      const { body } = await shop.subscribe(`customer-of-${token}`, token)
      t.is(body.status, status, token)
      t.deepEqual(attempts(body), expected, token)
      t.is(body.payment.status, status === 'active' ? 'succeeded' : 'failed', token)
    }
    const ledger = await ledgerOf(tollgate, shop.tenantId)
    const charged = ledger.charges.filter((charge) => charge.status === 'succeeded')
    t.is(charged.length, cases.filter(([, status]) => status === 'active').length)
  })

  story('issuer_soft is tried at one other account only', async ({ t, tollgate }) => {
    const storefronts = [{ id: 'us-store', currency: 'USD', paymentProviders: ['a', 'b', 'c'] }]
    const shop = await openShop(t, tollgate, { tenant: { storefronts } })
    t.deepEqual(attempts((await shop.subscribe('soft', 'pm_decline_issuer_soft')).body), [
      ['a', 'issuer_soft'],
      ['b', 'issuer_soft'],
    ])
    t.deepEqual(attempts((await shop.subscribe('technical', 'pm_decline_technical')).body), [
      ['a', 'technical'],
      ['b', 'technical'],
      ['c', 'technical'],
    ])
  })

  story('a pending payment opens access when its webhook comes', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate)
    const { body } = await shop.subscribe('patient', 'pm_pending_1h')
    t.like(body, { status: 'incomplete', payment: { status: 'processing' } })
    const question = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'patient', entitlement: 'analytics_dashboard' }
    t.like(await grpc.check(question), { allowed: false, reason: Reason.REASON_SUBSCRIPTION_INACTIVE })
    // Its provider says so in an hour of the tenant's own time.
    t.is((await shop.setClock('2024-03-15T01:00:00Z')).status, 200)
    await eventually(async () => (await shop.api.get(`/subscriptions/${body.id}`)).body.status === 'active')
    await eventually(async () => (await grpc.check(question)).allowed)
    t.deepEqual(attempts({ payment: (await shop.api.get(`/payments/${body.payment.id}`)).body }), [['stripe', 'succeeded']])
  })

  story('a payment without an answer blocks every other attempt until the provider is asked', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate)
    const { body } = await shop.subscribe('unlucky', 'pm_timeout_at_stripe')
    t.like(body, { status: 'incomplete', payment: { status: 'processing' } })
    t.deepEqual(attempts(body), [['stripe', 'unknown']])
    // Neither a new payment method nor time short of the inquiry makes another attempt.
    const patched = await shop.api.patch(`/subscriptions/${body.id}`, { paymentMethod: 'pm_other_card' })
    t.deepEqual(attempts(patched.body), [['stripe', 'unknown']])
    await shop.setClock('2024-03-15T00:04:59Z')
    t.is((await shop.api.get(`/subscriptions/${body.id}`)).body.status, 'incomplete')

    await shop.setClock('2024-03-15T00:05:00Z')
    const { body: resolved } = await shop.api.get(`/subscriptions/${body.id}`)
    t.is(resolved.status, 'active')
    const question = { tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'unlucky', entitlement: 'analytics_dashboard' }
    t.true((await grpc.check({ ...question, minRevision: resolved.entitlementRevision })).allowed)
    const ledger = await ledgerOf(tollgate, shop.tenantId)
    t.is(ledger.charges.length, 1)
  })

  story('a customer who has to act is told where, and access opens after', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const act = (url: string, outcome: string) =>
      fetch(url, { method: 'POST', body: JSON.stringify({ outcome }), headers: { 'content-type': 'application/json' } })
    const approved = (await shop.subscribe('approves', 'pm_sca')).body
    t.is(approved.status, 'incomplete')
    const [attempt] = approved.payment.attempts
    t.is(attempt.status, 'requires_action')
    await act(attempt.nextAction.url, 'approve')
    await eventually(async () => (await shop.api.get(`/subscriptions/${approved.id}`)).body.status === 'active')

    const declined = (await shop.subscribe('declines', 'pm_sca')).body
    await act(declined.payment.attempts[0].nextAction.url, 'decline')
    await eventually(async () => (await shop.api.get(`/payments/${declined.payment.id}`)).body.status === 'failed')
    t.is((await shop.api.get(`/subscriptions/${declined.id}`)).body.status, 'incomplete')
  })

  story('a declined customer pays with another method, and is charged once', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const { body } = await shop.subscribe('second-try', 'pm_decline_hard')
    t.like(body, { status: 'incomplete', payment: { status: 'failed' } })
    const paid = await shop.api.patch(`/subscriptions/${body.id}`, { paymentMethod: 'pm_good' })
    t.like(paid.body, { status: 'active', payment: { status: 'succeeded' } })
    t.deepEqual(attempts(paid.body), [
      ['stripe', 'hard'],
      ['stripe', 'succeeded'],
    ])
  })

  story('a first payment that is not made in time ends the subscription', async ({ t, tollgate, grpc }) => {
    const shop = await openShop(t, tollgate)
    const { body } = await shop.subscribe('never', 'pm_decline_funds')
    await shop.setClock('2024-03-15T22:59:59Z')
    t.is((await shop.api.get(`/subscriptions/${body.id}`)).body.status, 'incomplete')
    await shop.setClock('2024-03-15T23:00:00Z')
    t.like((await shop.api.get(`/subscriptions/${body.id}`)).body, { status: 'incomplete_expired', endReason: 'payment_not_made', nextPayment: null })
    t.is((await shop.api.get(`/payments/${body.payment.id}`)).body.status, 'failed')
    const answer = await grpc.check({ tenantId: shop.tenantId, storefrontId: 'us-store', customerId: 'never', entitlement: 'analytics_dashboard' })
    t.like(answer, { allowed: false, reason: Reason.REASON_NOT_GRANTED })
  })

  story('money that arrives for a subscription that has ended meanwhile is refunded', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const { body } = await shop.subscribe('changed-mind', 'pm_timeout_at_stripe')
    t.is((await shop.api.post(`/subscriptions/${body.id}/cancel`, { at: 'now' })).body.status, 'canceled')
    await shop.setClock('2024-03-15T00:05:00Z')
    t.like((await shop.api.get(`/payments/${body.payment.id}`)).body, { status: 'succeeded', refundedAmount: 2900 })
    t.is((await shop.api.get(`/subscriptions/${body.id}`)).body.status, 'canceled')
    const { refunds } = await ledgerOf(tollgate, shop.tenantId)
    t.deepEqual(
      refunds.map(({ amount }) => amount),
      [2900],
    )
  })

  story('80/20: the split is even-handed, deterministic, and told', async ({ t, tollgate }) => {
    const routing = {
      split: [
        { account: 'stripe', weight: 80 },
        { account: 'paypal', weight: 20 },
      ],
      rules: [{ name: 'bank transfers', when: { paymentMethodTypes: ['bank_transfer'] }, use: ['local-bank'] }],
    }
    const shop = await openShop(t, tollgate, { tenant: { storefronts: [{ id: 'us-store', currency: 'USD', routing }] } })
    const accounts: string[] = []
    for (let n = 0; n < 60; n += 1) {
      const [attempt] = (await shop.subscribe(`c${n}`)).body.payment.attempts
      t.is(attempt.account, attempt.why.slot < 80 ? 'stripe' : 'paypal')
      accounts.push(attempt.account)
    }
    const share = accounts.filter((account) => account === 'stripe').length / 60
    t.true(share > 0.6 && share < 0.95, `stripe got ${share}`)
    const bank = { id: 'bank', type: 'bank_transfer', tokens: { 'local-bank': 'tok', stripe: 'tok' } }
    await shop.api.post('/customers', { id: 'banker', storefrontId: 'us-store', paymentMethods: [bank] })
    const [attempt] = (await shop.subscribe('banker', 'bank')).body.payment.attempts
    t.like(attempt, { account: 'local-bank', why: { rule: 'bank transfers' } })
  })

  story('a webhook that is forged, old or for nobody changes nothing', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const { body } = await shop.subscribe('victim', 'pm_timeout_at_stripe')
    const [attempt] = body.payment.attempts
    const forged = JSON.stringify({ type: 'charge.succeeded', data: { id: 'ch', reference: attempt.id, status: 'succeeded' } })
    const send = (path: string, headers: Record<string, string>) =>
      fetch(`${tollgate.http}/v1/webhooks/psp/${path}`, { method: 'POST', body: forged, headers: { 'content-type': 'application/json', ...headers } })
    const signed = { 'webhook-id': 'evt_1', 'webhook-timestamp': String(Math.floor(Date.now() / 1000)), 'webhook-signature': 'v1,AAAA' }
    t.is((await send(`${shop.tenantId}/stripe`, signed)).status, 401)
    t.is((await send(`${shop.tenantId}/stripe`, {})).status, 401)
    // Who is not the provider does not learn whom there is.
    t.is((await send('nobody/stripe', signed)).status, 401)
    t.is((await shop.api.get(`/subscriptions/${body.id}`)).body.status, 'incomplete')
  })

  story('a live tenant without a usable provider is told so, and nothing is stored', async ({ t, tollgate }) => {
    const tenantId = `live-${tollgate.grpc}`.replace(/[^a-z0-9-]/g, '-')
    const api = httpClient(tollgate.http, { tenant: tenantId })
    const storefronts = [{ id: 's', currency: 'USD', paymentProviders: ['stripe'] }]
    await httpClient(tollgate.http).post('/tenants', { id: tenantId, name: 'Live', storefronts })
    await api.post('/bundles', { id: 'b', name: 'B', storefrontId: 's', pricing: { amount: 100, currency: 'USD', interval: 'month' }, entitlements: [] })
    const refused = await api.post('/subscriptions', { customerId: 'c', bundleId: 'b', storefrontId: 's', paymentMethod: 'pm_x' })
    t.like(refused, { status: 422, body: { code: 'no_eligible_psp', field: 'paymentMethod' } })
    t.is((await api.get('/storefronts/s/customers/c')).status, 404)
    t.deepEqual((await api.get('/subscriptions')).body.data, [])
  })
})
