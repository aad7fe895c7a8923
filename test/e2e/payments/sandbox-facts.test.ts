/**
 * What a sandbox can be made to go through after a charge: refunds that wait, fail and come back, disputes, challenges.
 * Each is a token, follows the tenant's test clock, and is seen as a caller sees it.
 */
import test from 'ava'
import { openBilling } from '../../support/billing.ts'
import { eventually } from '../../support/eventually.ts'
import { type InWorld, inWorlds } from '../../support/in-worlds.ts'
import { ledgerOf } from '../../support/ledger.ts'

const open = async (world: InWorld, storefronts?: object) => {
  const billing = await openBilling(world, { billing: { onDisputeLost: 'nothing', ...storefronts } })
  const { t, shop, buy } = billing
  const { api, tenantId } = shop
  const base = `${world.tollgate.simulator}/v1`
  /** The simulator itself, asked as its adapter asks it. */
  const simulator = async (path: string, body: object) => {
    const answer = await fetch(`${base}/${path}`, { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' } })
    return { status: answer.status, body: (await answer.json()) as Record<string, string> }
  }
  const refund = async (payment: string, amount?: number) => {
    const answer = await api.post(`/payments/${payment}/refund`, amount === undefined ? {} : { amount })
    t.is(answer.status, 200, JSON.stringify(answer.body))
    return answer.body
  }
  /** Takes a one-time payment of 29 with this token. @returns its id. */
  const pay = async (paymentMethod: string): Promise<string> => {
    const { body } = await api.post('/payments', { storefrontId: 'us-store', customerId: 'c', amount: 2900, currency: 'USD', paymentMethod })
    t.is(body.status, 'succeeded', JSON.stringify(body))
    return body.id
  }
  const payment = async (id: string) => (await api.get(`/payments/${id}`)).body
  return {
    ...billing,
    simulator,
    refund,
    payment,
    pay,
    /** A customer who can pay. */
    meet: () => buy(),
    approve: (url: string) => simulator(url.replace(`${base}/`, ''), { outcome: 'approve' }),
    cancel: (attempt: string) => simulator(`accounts/${tenantId}/stripe/charges/${attempt}/cancel`, {}),
    complete: (id: string, attempt: string) => api.post(`/payments/${id}/attempts/${attempt}/complete`, {}),
    ledger: () => ledgerOf(world.tollgate, tenantId),
    /** What the provider has told of refunds and disputes, in order, each with what became of it. */
    told: async () =>
      (await api.get('/webhook-events?limit=100')).body.data
        .filter(({ type }: { type: string }) => !type.startsWith('charge.'))
        .map(({ type, status }: { type: string; status: string }) => `${type} ${status}`),
  }
}

const disputesOf = async (payment: Awaited<ReturnType<typeof open>>['payment'], id: string) =>
  (await payment(id)).disputes.map(({ status, amount, openedAt }: { status: string; amount: number; openedAt: string }) => [
    status,
    amount,
    openedAt.slice(0, 16),
  ])

const refundsOf = async (payment: Awaited<ReturnType<typeof open>>['payment'], id: string) =>
  (await payment(id)).refunds.map(({ status, amount }: { status: string; amount: number }) => [status, amount])

inWorlds(test, (story) => {
  for (const decided of ['won', 'lost'] as const) {
    story(`a dispute opens a day after the charge, and is ${decided} a week later`, async (world) => {
      const { t, meet, pay, payment, clock, kept, ledger, told } = await open(world)
      await meet()
      const id = await pay(`pm_dispute_${decided}`)
      await clock('2024-01-01T23:59:59Z')
      t.deepEqual(await disputesOf(payment, id), [])
      await clock('2024-01-02')
      t.deepEqual(await disputesOf(payment, id), [['open', 2900, '2024-01-02T00:00']])
      t.like(await payment(id), { facts: ['disputed'], disputes: [{ reason: 'fraudulent', currency: 'USD', respondBy: '2024-01-09T00:00:00.000Z' }] })
      await clock('2024-01-08T23:59:59Z')
      t.is((await payment(id)).disputes[0].status, 'open')
      await clock('2024-01-09')
      t.deepEqual(await disputesOf(payment, id), [[decided, 2900, '2024-01-02T00:00']])
      t.like(await payment(id), { status: 'succeeded', facts: decided === 'won' ? [] : ['disputed'], refunds: [] })
      t.deepEqual(await told(), ['dispute.opened applied', `dispute.${decided} applied`])
      t.like((await ledger()).disputes[0], { status: decided, amount: 2900 })
      t.is(await kept(), decided === 'won' ? 5800 : 2900)
    })
  }

  story('a dispute that nobody decides stays open, and nothing of it can be refunded', async (world) => {
    const { t, meet, pay, payment, clock, shop } = await open(world)
    await meet()
    const id = await pay('pm_dispute_36h')
    await clock('2024-01-31')
    t.deepEqual(await disputesOf(payment, id), [['open', 2900, '2024-01-02T12:00']])
    t.is((await shop.api.post(`/payments/${id}/refund`, {})).body.code, 'not_allowed_in_state')
  })

  story('a refunded charge is not disputed; the rest of a partly refunded one is', async (world) => {
    const { t, meet, pay, payment, refund, clock, kept } = await open(world)
    await meet()
    const whole = await pay('pm_dispute_lost')
    const part = await pay('pm_dispute_lost')
    await refund(whole)
    await refund(part, 900)
    await clock('2024-01-09')
    t.deepEqual(await disputesOf(payment, whole), [])
    t.deepEqual(await disputesOf(payment, part), [['lost', 2000, '2024-01-02T00:00']])
    t.is(await kept(), 2900)
  })

  story('a dispute follows the charge from when it was made, at the account that is named; a charge that was not made gets none', async (world) => {
    const { t, meet, buy, pay, payment, clock } = await open(world)
    await meet()
    const elsewhere = await pay('pm_dispute_at_paypal')
    const waits = await buy({ customerId: 'waits', paymentMethod: 'pm_pending_12h_dispute' })
    const declined = await buy({ customerId: 'declined', paymentMethod: 'pm_decline_funds_dispute' })
    const silent = await buy({ customerId: 'silent', paymentMethod: 'pm_timeout_dispute_1h' })
    await clock('2024-01-05')
    t.deepEqual(await disputesOf(payment, elsewhere), [])
    t.deepEqual(await disputesOf(payment, waits.payment.id), [['open', 2900, '2024-01-02T12:00']])
    t.like(await payment(declined.payment.id), { disputes: [], status: 'failed' })
    t.deepEqual(await disputesOf(payment, silent.payment.id), [['open', 2900, '2024-01-01T01:00']])
  })

  story('a refund that waits is pending until its time, and made then', async (world) => {
    const { t, meet, pay, payment, refund, clock, kept, told } = await open(world)
    await meet()
    const soon = await pay('pm_refund_pending')
    const late = await pay('pm_refund_pending_3d')
    t.like(await refund(soon), { refundedAmount: 0, facts: [], refunds: [{ status: 'pending', amount: 2900 }] })
    t.like(await refund(late, 900), { refundedAmount: 0, refunds: [{ status: 'pending', amount: 900 }] })
    await clock('2024-01-01T00:00:59Z')
    t.deepEqual(await refundsOf(payment, soon), [['pending', 2900]])
    await clock('2024-01-01T00:01:00Z')
    t.like(await payment(soon), { refundedAmount: 2900, facts: ['refunded'], refunds: [{ status: 'succeeded' }] })
    // On the way it is inquired about daily, and each time is not yet made.
    await clock('2024-01-03T23:59:59Z')
    t.deepEqual(await refundsOf(payment, late), [['pending', 900]])
    await clock('2024-01-04')
    t.like(await payment(late), { refundedAmount: 900, facts: ['partially_refunded'], refunds: [{ status: 'succeeded' }] })
    t.deepEqual(await told(), ['refund.succeeded applied', 'refund.succeeded applied'])
    t.is(await kept(), 2900 + 2000)
  })

  story('a refused refund has failed, and its money is still there', async (world) => {
    const { t, meet, pay, refund, kept, ledger } = await open(world)
    await meet()
    const id = await pay('pm_refund_fails')
    t.like(await refund(id, 900), { refundedAmount: 0, facts: [], refunds: [{ status: 'failed', pspCode: 'refused' }] })
    t.like(await refund(id), { refunds: [{ amount: 900 }, { amount: 2900, status: 'failed' }] })
    t.deepEqual(
      (await ledger()).refunds.map(({ status }) => status),
      ['failed', 'failed'],
    )
    t.is(await kept(), 5800)
  })

  story('a refund comes back as failed three days later, and can be asked for again', async (world) => {
    const { t, meet, pay, payment, refund, clock, kept } = await open(world)
    await meet()
    const id = await pay('pm_refund_bounces')
    t.like(await refund(id), { refundedAmount: 2900, facts: ['refunded'] })
    await clock('2024-01-03T23:59:59Z')
    t.is((await payment(id)).refundedAmount, 2900)
    await clock('2024-01-04')
    t.like(await payment(id), { refundedAmount: 0, facts: [], refunds: [{ status: 'failed', pspCode: 'bounced' }] })
    t.is(await kept(), 5800)
    t.like(await refund(id, 2000), { refundedAmount: 2000 })
    await clock('2024-01-06T23:59:59Z')
    t.is(await kept(), 3800)
  })

  story('a refund waits, is made and comes back, each at its own time', async (world) => {
    const { t, meet, pay, payment, refund, clock, told } = await open(world)
    await meet()
    const id = await pay('pm_refund_pending_1d_refund_bounces_12h')
    await refund(id)
    for (const [now, status] of [
      ['2024-01-01T23:59:59Z', 'pending'],
      ['2024-01-02T00:00:00Z', 'succeeded'],
      ['2024-01-02T11:59:59Z', 'succeeded'],
      ['2024-01-02T12:00:00Z', 'failed'],
    ] as const) {
      await clock(now)
      t.deepEqual(await refundsOf(payment, id), [[status, 2900]], now)
    }
    t.deepEqual(await told(), ['refund.succeeded applied', 'refund.failed applied'])
  })

  story('two facts at one instant both count, in the order in which they came to be', async (world) => {
    const { t, meet, pay, payment, refund, clock, told } = await open(world)
    await meet()
    const id = await pay('pm_refund_pending_1d_dispute_lost')
    await refund(id, 900)
    const other = await pay('pm_refund_bounces_1d_dispute')
    await refund(other, 900)
    await clock('2024-01-02')
    // Both charges' disputes came to be before their refunds did.
    t.deepEqual(await told(), ['dispute.opened applied', 'refund.succeeded applied', 'dispute.opened applied', 'refund.failed applied'])
    t.deepEqual(await disputesOf(payment, id), [['open', 2900, '2024-01-02T00:00']])
    t.like(await payment(id), { refundedAmount: 900, facts: ['partially_refunded', 'disputed'], refunds: [{ status: 'succeeded' }] })
    t.deepEqual(await disputesOf(payment, other), [['open', 2000, '2024-01-02T00:00']])
    t.like(await payment(other), { refundedAmount: 0, facts: ['disputed'], refunds: [{ status: 'failed', pspCode: 'bounced' }] })
    // One move over all that is left does it on its day.
    await clock('2024-03-01')
    t.is((await payment(id)).disputes[0].status, 'lost')
    t.is((await payment(other)).disputes[0].status, 'open')
  })

  story('payments of a subscription are disputed while it goes on, and each of its bills for itself', async (world) => {
    const { t, buy, bills, clock } = await open(world, { onDispute: 'nothing' })
    const { id } = await buy({ paymentMethod: 'pm_refund_pending_dispute_won' })
    await clock('2024-02-15')
    t.deepEqual(
      (await bills(id)).map(({ status, disputes }) => [status, disputes.map((one: { status: string; openedAt: string }) => [one.status, one.openedAt])]),
      [
        ['succeeded', [['won', '2024-01-02T00:00:00.000Z']]],
        ['succeeded', [['won', '2024-02-02T00:00:00.000Z']]],
      ],
    )
  })

  story('an issuer that asks for its customer is answered by one who is there', async (world) => {
    const { t, simulator, shop, approve } = await open(world)
    const account = `accounts/${shop.tenantId}/stripe`
    const order = (reference: string, change: object) => ({ reference, amount: 2900, currency: 'USD', token: 'pm_decline_action_required', ...change })
    const away = await simulator(`${account}/charges`, order('pay_a-1', { offSession: true }))
    t.like(away.body, { status: 'declined', declineClass: 'action_required' })
    t.like((await simulator(`${account}/charges`, order('pay_b-1', { offSession: false }))).body, { status: 'declined' }, 'nobody has asked yet')
    const there = await simulator(`${account}/charges`, order('pay_c-1', { offSession: false, authenticate: true }))
    t.is(there.body.status, 'requires_action')
    t.like((await approve(there.body.actionUrl ?? '')).body, { status: 'succeeded' })
    const { charges } = await ledgerOf(world.tollgate, shop.tenantId)
    t.deepEqual(
      charges.map(({ status, offSession }) => [status, offSession]),
      [
        ['declined', true],
        ['declined', false],
        ['succeeded', false],
      ],
    )
  })

  story('the provider is told whether the customer is there', async (world) => {
    const { t, buy, clock, ledger } = await open(world)
    await buy()
    await clock('2024-02-01')
    t.deepEqual(
      (await ledger()).charges.map(({ offSession }) => offSession),
      [false, true],
    )
  })

  story('a challenge that was canceled is declined, whatever its customer does', async (world) => {
    const { t, buy, cancel, approve, complete, payment, kept } = await open(world)
    const { payment: first } = await buy({ paymentMethod: 'pm_sca' })
    const [attempt] = first.attempts
    t.like(await cancel(attempt.id), { status: 200, body: { status: 'declined', declineClass: 'action_required' } })
    t.like((await approve(attempt.nextAction.url)).body, { status: 'declined' })
    t.is((await complete(first.id, attempt.id)).status, 200)
    t.like(await payment(first.id), { status: 'failed', attempts: [{ status: 'declined', declineClass: 'action_required' }] })
    t.is(await kept(), 0)
  })

  story('a challenge that cannot be canceled may be approved when nobody wants the money any more: it is refunded', async (world) => {
    const { t, buy, tell, cancel, approve, payment, kept } = await open(world)
    const sub = await buy({ paymentMethod: 'pm_sca_late' })
    const [attempt] = sub.payment.attempts
    t.is((await cancel(attempt.id)).status, 409)
    await tell(sub.id, 'cancel', { at: 'now' })
    await approve(attempt.nextAction.url)
    await eventually(async () => (await payment(sub.payment.id)).refundedAmount === 2900)
    t.like(await payment(sub.payment.id), { status: 'succeeded', refunds: [{ reason: 'not_wanted', status: 'succeeded' }] })
    t.is(await kept(), 0)
  })

  story('a refund that Tollgate owes is repeated until it is kept, if it comes back', async (world) => {
    const { t, buy, tell, clock, payment, kept } = await open(world)
    const sub = await buy({ paymentMethod: 'pm_timeout_refund_bounces_1d' })
    await tell(sub.id, 'cancel', { at: 'now' })
    await clock('2024-01-01T00:05:00Z')
    t.like(await payment(sub.payment.id), { refundedAmount: 2900, refunds: [{ reason: 'not_wanted', status: 'succeeded' }] })
    await clock('2024-01-02T00:05:00Z')
    t.like(await payment(sub.payment.id), { refundedAmount: 0, refunds: [{ status: 'due', pspCode: 'bounced' }] })
    t.is(await kept(), 2900)
    await clock('2024-01-03T00:05:00Z')
    t.is((await payment(sub.payment.id)).refundedAmount, 2900)
    t.is(await kept(), 0)
  })

  story('an account that captures separately holds the money and captures it; if the capture is refused, another account is tried', async (world) => {
    const { t, shop, buy, payment, ledger } = await open(world)
    for (const id of ['stripe', 'paypal']) {
      const account = await shop.api.post('/psp-accounts', { id, provider: 'simulator', capture: 'separate' })
      t.is(account.status, 201, JSON.stringify(account.body))
    }
    const plain = await buy()
    t.is(plain.status, 'active')
    const tried = await buy({ customerId: 'other', paymentMethod: 'pm_capture_fails_at_stripe' })
    t.is(tried.status, 'active')
    t.deepEqual(
      (await payment(tried.payment.id)).attempts.map(({ account, status }: { account: string; status: string }) => [account, status]),
      [
        ['stripe', 'declined'],
        ['paypal', 'succeeded'],
      ],
    )
    t.deepEqual((await ledger()).charges.map(({ status }) => status).toSorted(), ['declined', 'succeeded', 'succeeded'])
  })
})
