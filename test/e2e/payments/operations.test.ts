/** Work of people who run payments: simulate a route, record an outcome that no provider reports, look into the inbox, import reports. */
import { randomBytes } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { Reason } from '../../../proto/gen/entitlement/v1/entitlement.ts'
import { eventually } from '../../support/eventually.ts'
import { inWorlds } from '../../support/in-worlds.ts'
import { startFakeBank } from '../../support/psp/bank.ts'
import type { StandIn } from '../../support/psp/index.ts'
import { openLiveShop } from '../../support/psp/live-shop.ts'
import { startFakeStripe } from '../../support/psp/stripe.ts'
import { openShop } from '../../support/shop.ts'
import type { World } from '../../support/tollgate.ts'

const servers = new Map<World, { stripe: StandIn; bank: StandIn }>()
const serversOf = async (world: World) => {
  const started = { stripe: await startFakeStripe(), bank: await startFakeBank() } as unknown as { stripe: StandIn; bank: StandIn }
  servers.set(world, started)
  return {
    STRIPE_URL: started.stripe.fake.url,
    LOCAL_PSP_PRIVATE_URLS: 'true',
    PSP_TIMEOUT_MS: '500',
    CIRCUIT_FAILURES: '3',
    CIRCUIT_OPEN_MS: '1500',
    CREDENTIALS_KEY: randomBytes(32).toString('base64'),
  }
}
test.after.always(async () => {
  for (const { stripe, bank } of servers.values()) await Promise.all([stripe.fake.close(), bank.fake.close()])
})

inWorlds(
  test,
  (told, world) => {
    // One after another: they share the stand-ins, whose webhooks go to one shop at a time.
    let before: Promise<unknown> = Promise.resolve()
    const story: typeof told = (title, run) =>
      told(title, (here) => {
        const turn = before.then(() => run(here))
        before = turn.catch(() => undefined)
        return turn
      })
    const standIns = () => {
      const started = servers.get(world)
      if (!started) throw new Error('the stand-ins are not started')
      return started
    }
    const split = { routing: { split: [{ account: 'stripe', weight: 80 }], fallback: ['bank'], rules: [] } }
    const bankAlone = (billing = {}) => ({ paymentProviders: ['bank'], billing })

    story('a simulated route charges nothing, and is the one that the attempt then records', async ({ t, tollgate }) => {
      const { stripe, bank } = standIns()
      const rules = [{ name: 'bank transfers', when: { paymentMethodTypes: ['bank_transfer'] }, use: ['bank'] }]
      const shop = await openLiveShop(t, tollgate, { stripe, bank }, { routing: { ...split.routing, rules } })
      await shop.customer('c')
      const ask = (question: object) => shop.api.post('/routing/simulate', { storefrontId: 'us-store', amount: 2900, ...question })
      const { body: card } = await ask({ customerId: 'c' })
      t.like(card, { rule: 'split', candidates: ['stripe', 'bank'], excluded: [], behindOpenCircuit: [] })
      t.deepEqual(card.split, [{ account: 'stripe', weight: 80 }])
      t.deepEqual(
        card.accounts.map(({ account, position }: { account: string; position: number }) => [account, position]),
        [
          ['stripe', 1],
          ['bank', 2],
        ],
      )
      const { body: transfer } = await ask({ paymentMethodType: 'bank_transfer' })
      t.like(transfer, { rule: 'bank transfers', candidates: ['bank', 'stripe'], slot: null })
      t.like(transfer.accounts[0], { account: 'bank', because: 'by the rule "bank transfers"' })
      t.like((await ask({ renewalAt: 'bank', customerId: 'c' })).body, { rule: 'renewal', candidates: ['bank', 'stripe'] })
      t.like((await ask({ renewalAt: 'bank' })).body, { rule: 'split' }, 'a portable token leaves the choice open')
      t.is(stripe.fake.charges().length + bank.fake.charges().length, 0)

      const paid = await shop.api.post('/payments', { storefrontId: 'us-store', customerId: 'c', amount: 2900, currency: 'USD', paymentMethod: 'card' })
      t.is(paid.body.status, 'succeeded', JSON.stringify(paid.body))
      const { body: again } = await ask({ customerId: 'c', paymentId: paid.body.id })
      const { rule, slot, split: weights, candidates, excluded } = again
      t.deepEqual(paid.body.attempts[0].why, { rule, slot, split: weights, candidates, excluded })
    })

    story('an attempt that no provider answers for is resolved by an operator, once, and keeps who did it', async ({ t, tollgate }) => {
      const { bank } = standIns()
      const shop = await openLiveShop(t, tollgate, { bank }, bankAlone())
      bank.fake.webhooks.mode = 'never'
      bank.fake.failNext('timeout before')
      const { body: payment } = await shop.pay('c')
      t.is(payment.status, 'processing')
      t.is(payment.attempts[0].status, 'unknown')
      const resolve = (body: object) => shop.api.post(`/payments/${payment.id}/attempts/${payment.attempts[0].id}/resolve`, body)
      t.like((await resolve({ outcome: 'succeeded', reason: 'their dashboard' })).body, { code: 'invalid_request', field: 'pspReference' })
      const done = await resolve({ outcome: 'succeeded', pspReference: 'bank-77', reason: 'their dashboard, case 12' })
      t.is(done.status, 200, JSON.stringify(done.body))
      t.like(done.body, { status: 'succeeded' })
      t.like(done.body.attempts[0], { status: 'succeeded', pspReference: 'bank-77' })
      t.like(done.body.attempts[0].resolution, { reason: 'their dashboard, case 12' })
      t.truthy(done.body.attempts[0].resolution.by)
      t.is((await resolve({ outcome: 'not_sent', reason: 'a second opinion' })).body.code, 'not_allowed_in_state')

      bank.fake.failNext('timeout before')
      const { body: second } = await shop.pay('d')
      const declined = await shop.api.post(`/payments/${second.id}/attempts/${second.attempts[0].id}/resolve`, {
        outcome: 'declined',
        declineClass: 'hard',
        reason: 'by telephone',
      })
      t.is(declined.body.status, 'failed')
      bank.fake.webhooks.mode = 'once'
    })

    story('the inbox keeps what providers send, says what followed from it, and replays it harmlessly', async ({ t, tollgate }) => {
      const { bank } = standIns()
      const shop = await openLiveShop(t, tollgate, { bank }, bankAlone())
      const { body: payment } = await shop.pay('c', 'pending')
      t.is(payment.status, 'processing')
      await bank.fake.conclude(payment.attempts[0].id, 'captured')
      await bank.fake.quiet()
      await bank.fake.send(bank.unknownEvent())
      const stranger = { ...(bank.fake.charges().at(-1) as never as object), reference: 'pay_nobody-1', id: 'bank-x' } as never
      await bank.fake.send(bank.disputeEvent(stranger, 'open'))
      t.is((await shop.api.get(`/payments/${payment.id}`)).body.status, 'succeeded')

      const { body: inbox } = await shop.api.get('/webhook-events?account=bank')
      const states = inbox.data.map(({ type, status }: { type: string; status: string }) => `${type} ${status}`)
      t.true(states.includes('charge.updated applied'), states.join())
      t.true(states.includes('statement.ready ignored'))
      t.true(states.includes('dispute.updated ignored'))
      const { body: ignored } = await shop.api.get('/webhook-events?status=ignored')
      t.is(ignored.data.length, 2)
      t.regex(ignored.data.find(({ type }: { type: string }) => type === 'dispute.updated').why, /there is no attempt/)

      const applied = inbox.data.find(({ status }: { status: string }) => status === 'applied')
      const { body: whole } = await shop.api.get(`/webhook-events/bank/${applied.id}`)
      t.is(JSON.parse(whole.body).charge.reference, payment.attempts[0].id)
      const replayed = await shop.api.post(`/webhook-events/bank/${applied.id}/replay`, {})
      t.like(replayed.body, { status: 'applied', replays: 1, paymentId: payment.id })
      t.like((await shop.api.get(`/payments/${payment.id}`)).body, { status: 'succeeded', refunds: [] })
    })

    story('a dispute is recorded; access is paused while it is open and ends when it is lost, if the storefront says so', async ({ t, tollgate, grpc }) => {
      const { bank } = standIns()
      const shop = await openLiveShop(t, tollgate, { bank }, bankAlone({ onDispute: 'pause', onDisputeLost: 'cancel' }))
      await shop.customer('c')
      const { body: sub } = await shop.api.post('/subscriptions', { customerId: 'c', bundleId: 'pro-plan', storefrontId: 'us-store', paymentMethod: 'card' })
      t.is(sub.status, 'active', JSON.stringify(sub))
      const charge = bank.fake.charge(sub.payment.attempts[0].id)
      if (!charge) throw new Error('nothing was charged')
      const check = async () => {
        const { body } = await shop.api.get(`/subscriptions/${sub.id}`)
        const { body: set } = await shop.api.get('/storefronts/us-store/customers/c/entitlements')
        const answer = await grpc.check({
          tenantId: shop.tenantId,
          storefrontId: 'us-store',
          customerId: 'c',
          entitlement: 'analytics_dashboard',
          minRevision: set.revision,
        })
        return [body.status, answer.allowed, answer.reason] as const
      }
      t.deepEqual(await check(), ['active', true, Reason.REASON_GRANTED])
      await bank.fake.send(bank.disputeEvent(charge, 'open'))
      t.like(await check(), { 0: 'paused', 1: false })
      const { body: payment } = await shop.api.get(`/payments/${sub.payment.id}`)
      t.deepEqual(payment.facts, ['disputed'])
      t.like(payment.disputes[0], { status: 'open', amount: 2900, reason: 'not authorised' })
      t.is((await shop.api.post(`/payments/${payment.id}/refund`, {})).body.code, 'not_allowed_in_state', 'the bank has the money already')

      await bank.fake.send(bank.disputeEvent(charge, 'won'))
      t.like(await check(), { 0: 'active', 1: true })
      // Told again, and late, it changes nothing.
      await bank.fake.send(bank.disputeEvent(charge, 'open'))
      t.like(await check(), { 0: 'active', 1: true })
      await bank.fake.send(bank.disputeEvent(charge, 'lost'))
      t.like(await check(), { 0: 'canceled', 1: false })
      const { body: timeline } = await shop.api.get(`/subscriptions/${sub.id}/timeline`)
      const types = timeline.data.map(({ type }: { type: string }) => type)
      for (const type of ['dispute_open', 'paused', 'dispute_won', 'resumed', 'dispute_lost', 'canceled']) t.true(types.includes(type), `${type} of ${types}`)
    })

    story('a change of an account or a storefront leaves the rest as it was', async ({ t, tollgate }) => {
      const { stripe, bank } = standIns()
      const rules = [{ name: 'cards', when: { paymentMethodTypes: ['card'] }, use: ['bank'] }]
      const shop = await openLiveShop(t, tollgate, { stripe, bank }, { routing: { ...split.routing, rules } })
      const { body: changed } = await shop.api.patch('/storefronts/us-store', { paymentProviders: ['bank', 'stripe'] })
      t.like(changed.routing, { split: [{ account: 'bank', weight: 1 }], fallback: ['stripe'] })
      t.like(changed.routing.rules, rules)
      const made = await shop.api.post('/psp-accounts', { id: 'pp', provider: 'paypal', credentials: { clientId: 'a', clientSecret: 'b' } })
      t.like(made.body, { problem: null, webhookProblem: 'credentials.webhookId is required: the id of the webhook, from the dashboard' })
      t.like((await shop.api.patch('/psp-accounts/pp', { credentials: { webhookId: 'WH' } })).body, { problem: null, webhookProblem: null })
      const misspelt = await shop.api.post('/psp-accounts', { id: 's2', provider: 'stripe', credentials: { secretkey: 'sk' } })
      t.regex(misspelt.body.problem, /credentials\.secretKey is required.*credentials\.secretkey is not a credential of stripe/)
    })

    story('a first payment that failed for our own fault is tried again with the same method', async ({ t, tollgate }) => {
      const shop = await openShop(t, tollgate)
      const { body: sub } = await shop.subscribe('c', 'pm_decline_config')
      t.is(sub.status, 'incomplete')
      const { body: customer } = await shop.api.get('/storefronts/us-store/customers/c')
      const [{ id: method }] = customer.paymentMethods
      await shop.api.patch(`/storefronts/us-store/customers/c/payment-methods/${method}`, { tokens: { '*': 'pm_ok' } })
      t.is((await shop.api.patch(`/subscriptions/${sub.id}`, { paymentMethod: method })).body.status, 'active')
      const { body: failed } = await shop.api.get('/payments?status=failed')
      t.deepEqual(failed.data, [])
      t.is((await shop.api.get('/payments?status=succeeded')).body.data.length, 1)
    })

    story('the stored credentials of an account show no secret, if a key is set', async ({ t, tollgate }) => {
      const { stripe } = standIns()
      const shop = await openLiveShop(t, tollgate, { stripe }, { paymentProviders: ['stripe'] })
      t.is((await shop.pay('c')).body.status, 'succeeded')
      if (tollgate.env.MONGODB_URL) return
      const { DATA_DIR = '' } = tollgate.env
      const files = (await readdir(DATA_DIR)).filter((name) => name.startsWith('tollgate.sqlite'))
      const stored = (await Promise.all(files.map((name) => readFile(join(DATA_DIR, name), 'latin1')))).join()
      t.true(stored.includes('sealed.v1:'))
      for (const secret of [...Object.values(stripe.credentials), stripe.webhookSecret]) t.false(stored.includes(secret as string))
    })

    story('a settlement report is matched to payments; what differs is listed, and importing again settles nothing twice', async ({ t, tollgate }) => {
      const { bank } = standIns()
      const shop = await openLiveShop(t, tollgate, { bank }, bankAlone())
      const from = new Date(Date.now() - 60_000).toISOString()
      const { body: first } = await shop.pay('a')
      const { body: second } = await shop.pay('b')
      const { body: third } = await shop.pay('c')
      const { body: forgotten } = await shop.pay('forgotten')
      const { body: refunded } = await shop.api.post(`/payments/${second.id}/refund`, { amount: 900 })
      const attempt = (payment: { attempts: { id: string }[] }) => payment.attempts[0]?.id
      const refundReference = `${attempt(second)}.${refunded.refunds[0].id}`
      const csv = [
        'type,reference,currency,gross,fee,net,settled_at',
        `charge,${attempt(first)},USD,29.00,0.88,28.12,2024-04-02`,
        `charge,${attempt(second)},USD,29.00,0.88,28.12,2024-04-02`,
        `refund,${refundReference},USD,-9.00,0.00,-9.00,2024-04-02`,
        `charge,${attempt(third)},USD,28.00,0.88,27.12,2024-04-02`,
        'charge,pay_nobody-1,USD,5.00,0.10,4.90,2024-04-02',
        'fee,,USD,0,2.00,-2.00,2024-04-02',
        `charge,${attempt(first)},USD,29.00,0.88,28.12,2024-04-02`,
        `refund,${refundReference},USD,9.00,0.00,9.00,2024-04-02`,
        'charge,x,USD,abc,0,0,',
      ].join('\n')
      const to = new Date(Date.now() + 60_000).toISOString()
      const path = (report: string) => `/settlement-reports/${report}/csv?account=bank&from=${from}&to=${to}`
      const send = (report: string, body: string) => shop.api.call('POST', path(report), body, { 'content-type': 'text/csv' })
      const report = await send('payout-1', csv)
      t.is(report.status, 201, JSON.stringify(report.body))
      t.like(report.body, { status: 'done', lines: 9, matched: 5, differences: 6 })
      t.deepEqual(report.body.totals, [{ currency: 'USD', gross: 12000, fee: 562, net: 11438 }])
      const { body: differences } = await shop.api.get('/settlement-reports/payout-1/differences')
      t.deepEqual(
        differences.data.map(({ line, kind }: { line: number; kind: string }) => [line, kind]),
        [
          [4, 'amount_differs'],
          [5, 'unknown_reference'],
          [7, 'settled_twice'],
          [8, 'amount_differs'],
          [9, 'malformed'],
          [null, 'missing'],
        ],
      )
      t.regex(differences.data[0].why, /28\.00.*29\.00/)
      const { body: settled } = await shop.api.get(`/payments/${second.id}`)
      t.deepEqual(settled.facts, ['partially_refunded', 'settled'])
      t.deepEqual(
        settled.settlements.map(({ kind, gross, fee, net }: Record<string, unknown>) => [kind, gross, fee, net]),
        [
          ['charge', 2900, 88, 2812],
          ['refund', -900, 0, -900],
          ['refund', 900, 0, 900],
        ],
      )
      t.is((await send('payout-1', csv)).body.code, 'already_exists')
      // A file of something else is refused as a whole, and does not use its id up.
      for (const wrong of ['', 'totally,unrelated\n1,2', 'type,reference,currency,gross,fee,net\n']) {
        t.like((await send('payout-2', wrong)).body, { code: 'invalid_request' }, wrong)
      }
      t.regex((await send('payout-2', 'totally,unrelated\n1,2')).body.detail, /lacks the columns type, reference, .*\?format=/)
      // Cut off in the middle, and sent again.
      const rest = ['type,reference,currency,gross,fee,net', `charge,${attempt(forgotten)},USD,29.00,0.88,28.12`]
      t.like((await send('payout-2', [...rest, '"charge,never closed'].join('\n'))).body, { code: 'invalid_request' })
      t.is((await shop.api.get('/settlement-reports/payout-2')).body.status, 'failed')
      t.like((await send('payout-2', rest.join('\n'))).body, { status: 'done', lines: 1, matched: 1, differences: 0 })
      t.is((await shop.api.get(`/payments/${forgotten.id}`)).body.settlements.length, 1)

      // The same by the API, whole this time.
      const lines = [{ type: 'charge', reference: attempt(third), currency: 'USD', gross: 2900, fee: 88, net: 2812 }]
      const byApi = await shop.api.post('/settlement-reports', { id: 'payout-3', account: 'bank', lines })
      t.like(byApi.body, { status: 'done', lines: 1, matched: 0, differences: 1 }, 'payout-1 has settled it, if for less')
      t.is((await shop.api.get('/settlement-reports?account=bank')).body.data.length, 3)
    })

    story('an account gets no more payments for a while after three failures in a row, which is visible; then one is let through', async ({ t, tollgate }) => {
      const { stripe, bank } = standIns()
      const shop = await openLiveShop(t, tollgate, { stripe, bank }, split)
      const circuit = async () => (await shop.api.get('/psp-accounts/stripe')).body.circuit.state
      t.is(await circuit(), 'closed')
      await stripe.fake.down()
      try {
        for (const customer of ['a', 'b', 'c']) {
          const { body } = await shop.pay(customer)
          t.is(body.status, 'succeeded')
          t.deepEqual(
            body.attempts.map(({ account, status }: { account: string; status: string }) => `${account} ${status}`),
            ['stripe not_sent', 'bank succeeded'],
          )
        }
        t.is(await circuit(), 'open')
        const { body } = await shop.pay('d')
        t.deepEqual(
          body.attempts.map(({ account }: { account: string }) => account),
          ['bank'],
        )
        t.regex(body.attempts[0].why.excluded[0].reason, /^circuit open until /)
        const { body: simulated } = await shop.api.post('/routing/simulate', { storefrontId: 'us-store', amount: 1 })
        t.deepEqual(simulated.behindOpenCircuit, ['stripe'])
      } finally {
        await stripe.fake.up()
      }
      await eventually(async () => (await circuit()) === 'half_open')
      const { body: probe } = await shop.pay('e')
      t.is(probe.attempts[0].account, 'stripe')
      t.is(probe.attempts[0].status, 'succeeded', JSON.stringify(probe.attempts))
      t.is(await circuit(), 'closed')
      const opened = async () => (await shop.api.get('/events?types=psp_account.*')).body.data
      await eventually(async () => (await opened()).length > 0)
      const [event, ...others] = await opened()
      t.like(event, { type: 'psp_account.circuit_open', data: { id: 'stripe', trouble: 'circuit_open' } })
      t.true(event.data.until > event.data.at)
      t.deepEqual(others, [])
    })

    story('a payment waits as not sent while every circuit is open, and nobody loses access over it', async ({ t, tollgate }) => {
      const { stripe } = standIns()
      const shop = await openLiveShop(t, tollgate, { stripe }, { paymentProviders: ['stripe'] })
      await stripe.fake.down()
      try {
        for (const customer of ['a', 'b', 'c']) await shop.pay(customer)
        const { body } = await shop.pay('d')
        t.like(body, { status: 'failed' })
        t.like(body.attempts[0], { account: 'stripe', status: 'not_sent', pspCode: 'circuit_open' })
      } finally {
        await stripe.fake.up()
      }
    })

    story('a customer has several payment methods, in an order, with a default and dates of expiry', async ({ t, tollgate }) => {
      const shop = await openShop(t, tollgate)
      await shop.subscribe('c', 'pm_first')
      const path = '/storefronts/us-store/customers/c/payment-methods'
      const add = await shop.api.post(path, { id: 'second', tokens: { '*': 'tok_2' }, expiry: { month: 2, year: 2024 } })
      t.is(add.status, 201, JSON.stringify(add.body))
      t.like(add.body.data[1], { id: 'second', default: false, expired: true, accounts: ['*'] })
      t.is((await shop.api.post(path, { id: 'second', tokens: { '*': 'tok' } })).body.code, 'already_exists')
      const { body: moved } = await shop.api.patch(`${path}/second`, { position: 0, expiry: { month: 12, year: 2030 }, tokens: { stripe: 'tok_at_stripe' } })
      t.like(moved.data[0], { id: 'second', default: true, expired: false, accounts: ['*', 'stripe'] })
      const first = moved.data[1].id
      t.like((await shop.api.call('DELETE', `${path}/${first}`)).body, { code: 'not_allowed_in_state' }, 'a subscription is paid with it')
      const gone = await shop.api.call('DELETE', `${path}/second`)
      t.deepEqual(
        gone.body.data.map(({ id }: { id: string }) => id),
        [first],
      )
    })

    story('a renewal that is refused is tried with the next method that has not expired, where the storefront allows it', async ({ t, tollgate }) => {
      for (const allowed of [true, false]) {
        const shop = await openShop(t, tollgate)
        await shop.api.patch('/storefronts/us-store', { billing: { tryOtherMethods: allowed } })
        const { body: sub } = await shop.subscribe('c', 'pm_first')
        const path = '/storefronts/us-store/customers/c/payment-methods'
        await shop.api.post(path, { id: 'expired', tokens: { '*': 'tok_e' }, expiry: { month: 1, year: 2024 } })
        await shop.api.post(path, { id: 'spare', tokens: { '*': 'tok_s' }, expiry: { month: 1, year: 2030 } })
        const { body: methods } = await shop.api.get('/storefronts/us-store/customers/c')
        await shop.api.patch(`${path}/${methods.paymentMethods[0].id}`, { tokens: { '*': 'pm_decline_funds' } })
        await shop.setClock('2024-04-15T00:00:01Z')
        const { body: payments } = await shop.api.get(`/payments?subscriptionId=${sub.id}`)
        const renewal = payments.data.at(-1)
        const tried = renewal.attempts.map(({ paymentMethod, declineClass, status }: Record<string, string>) => `${paymentMethod} ${declineClass ?? status}`)
        const own = methods.paymentMethods[0].id
        t.deepEqual(tried, allowed ? [`${own} funds`, 'spare succeeded'] : [`${own} funds`])
        t.is((await shop.api.get(`/subscriptions/${sub.id}`)).body.status, allowed ? 'active' : 'past_due')
      }
    })
  },
  undefined,
  serversOf,
)
