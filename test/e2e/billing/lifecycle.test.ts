/** The states of a subscription: each transition of the table, and that there is no other. */
import test from 'ava'
import { openBilling } from '../../support/billing.ts'
import { eventually } from '../../support/eventually.ts'
import { inWorlds } from '../../support/in-worlds.ts'

const monthly = (amount: number) => ({ pricing: { amount, currency: 'USD', interval: 'month' } })

inWorlds(test, (story) => {
  story('pause: access is off, nothing is charged, and what was left of the period is there on resumption', async (world) => {
    const { t, buy, clock, tell, read, payments, access } = await openBilling(world)
    const { id } = await buy()
    await clock('2024-01-11', [])
    t.like(await tell(id, 'pause'), { status: 'paused', nextPayment: null, pausedAt: '2024-01-11T00:00:00.000Z' })
    await access(false)
    await clock('2024-04-01', [])
    t.is((await payments(id)).length, 1)
    // Twenty-one days were left.
    t.like(await tell(id, 'resume'), { status: 'active', currentPeriod: { end: '2024-04-22T00:00:00.000Z' }, nextPayment: { amount: 2_900, on: '2024-04-22' } })
    await access(true)
    await clock('2024-05-22', ['payment', 'attempt', 'renewed', 'payment', 'attempt', 'renewed'])
    t.deepEqual((await payments(id)).slice(1), [
      ['2024-04-22', 2_900, 'succeeded'],
      ['2024-05-22', 2_900, 'succeeded'],
    ])
    t.like(await read(id), { status: 'active', nextPayment: { on: '2024-06-22' } })
  })

  story('pause: with a fixed billing day what is left runs out first, and the next whole period begins on that day', async (world) => {
    const { t, buy, clock, tell, payments } = await openBilling(world, { bundle: monthly(3_000) })
    const { id } = await buy({ billingDay: 1 })
    await clock('2024-01-11', [])
    await tell(id, 'pause')
    await clock('2024-03-25', [])
    t.like(await tell(id, 'resume'), { currentPeriod: { end: '2024-04-15T00:00:00.000Z' }, nextPayment: { amount: 1_600, on: '2024-04-15' } })
    await clock('2024-05-01', ['payment', 'attempt', 'renewed', 'payment', 'attempt', 'renewed'])
    t.deepEqual((await payments(id)).slice(1), [
      ['2024-04-15', 1_600, 'succeeded'],
      ['2024-05-01', 3_000, 'succeeded'],
    ])
  })

  story('pause: credit after a pause is for the days that were paid, not for those that were paused', async (world) => {
    const { t, buy, clock, tell } = await openBilling(world, { now: '2024-06-01T00:00:00Z', bundle: monthly(3_000), bundles: { less: monthly(1_500) } })
    const { id } = await buy()
    await clock('2024-06-11', [])
    await tell(id, 'pause')
    await clock('2024-08-11', [])
    await tell(id, 'resume')
    // Twenty of thirty days are left: 2000 less 1000.
    t.like(await tell(id, 'change', { bundleId: 'less' }), { creditBalance: 1_000 })
  })

  story('pause: one with an end ends by itself', async (world) => {
    const { t, buy, clock, tell, read, access } = await openBilling(world)
    const { id } = await buy()
    await clock('2024-01-11', [])
    t.like(await tell(id, 'pause', { resumeAt: '2024-02-11' }), { resumeAt: '2024-02-11T00:00:00.000Z' })
    await clock('2024-02-10T23:59:59Z', [])
    t.is((await read(id)).status, 'paused')
    await clock('2024-02-11', ['resumed'])
    t.like(await read(id), { status: 'active', currentPeriod: { end: '2024-03-03T00:00:00.000Z' } })
    await access(true)
  })

  story('collection pause: access stays on, nothing is charged, and what was not charged is not credited', async (world) => {
    const { t, buy, clock, tell, payments, access, read } = await openBilling(world, { bundles: { less: monthly(1_000) } })
    const { id } = await buy()
    t.like(await tell(id, 'pause', { what: 'collection' }), { status: 'active', collectionPausedAt: '2024-01-01T00:00:00.000Z', nextPayment: null })
    await clock('2024-03-15', ['period_not_charged', 'period_not_charged'])
    await access(true)
    t.is((await payments(id)).length, 1)
    t.like(await read(id), { status: 'active', currentPeriod: { start: '2024-03-01T00:00:00.000Z' } })
    t.like(await tell(id, 'resume'), { collectionPausedAt: null, nextPayment: { amount: 2_900, on: '2024-04-01' } })
    // March was free, so leaving it early gives nothing back: 17 of 31 days of the new plan are charged.
    t.like(await tell(id, 'change', { bundleId: 'less' }), { creditBalance: 0, payment: { amount: Math.round((1_000 * 17) / 31) } })
    await clock('2024-04-01', ['payment', 'attempt', 'renewed'])
    t.deepEqual((await payments(id)).at(-1), ['2024-04-01', 1_000, 'succeeded'])
  })

  story('cancel at the period end: access to the last second; it can be taken back; then it ends by itself', async (world) => {
    const { t, buy, clock, tell, read, refused, access, payments } = await openBilling(world)
    const { id } = await buy()
    t.like(await tell(id, 'cancel', { at: 'period_end' }), { status: 'active', cancelAtPeriodEnd: true, nextPayment: null })
    t.like(await tell(id, 'reactivate'), { cancelAtPeriodEnd: false, nextPayment: { on: '2024-02-01' } })
    await refused(id, 'reactivate', {})
    await tell(id, 'cancel', { at: 'period_end' })
    await clock('2024-01-31T23:59:59Z', [])
    await access(true)
    await clock('2024-02-01', ['canceled'])
    await access(false)
    t.like(await read(id), { status: 'canceled', endReason: 'period_end', endedAt: '2024-02-01T00:00:00.000Z' })
    t.is((await payments(id)).length, 1)
  })

  story('an ended subscription stays ended: every command is refused and says what to do', async (world) => {
    const { t, buy, tell, refused, shop } = await openBilling(world, { bundles: { other: {} } })
    const { id } = await buy()
    await tell(id, 'cancel', { at: 'now' })
    const commands: [string, object][] = [
      ['cancel', { at: 'now' }],
      ['cancel', { at: 'period_end' }],
      ['reactivate', {}],
      ['pause', {}],
      ['pause', { what: 'collection' }],
      ['resume', {}],
      ['change', { bundleId: 'other' }],
      ['change', { bundleId: 'other', at: 'period_end' }],
      ['preview-change', { quantity: 2 }],
    ]
    for (const [command, body] of commands) t.is((await refused(id, command, body)).code, 'not_allowed_in_state', command)
    t.is((await shop.api.patch(`/subscriptions/${id}`, { paymentMethod: 'pm_other' })).status, 409)
  })

  story('no other transition: a command that the state does not allow is refused, and changes nothing', async (world) => {
    const { t, buy, clock, tell, refused, pay } = await openBilling(world, { bundle: { trialDays: 0 }, bundles: { tried: { trialDays: 7 }, other: {} } })
    const incomplete = (await buy({ customerId: 'incomplete', paymentMethod: 'pm_decline_funds' })).id
    for (const [command, body] of [
      ['pause', {}],
      ['pause', { what: 'collection' }],
      ['resume', {}],
      ['reactivate', {}],
      ['change', { bundleId: 'other' }],
    ] as [string, object][])
      await refused(incomplete, command, body)
    const trialing = (await buy({ customerId: 'trialing', bundleId: 'tried' })).id
    for (const command of ['pause', 'resume', 'reactivate']) await refused(trialing, command, {})
    const scheduled = (await buy({ customerId: 'scheduled', startDate: '2024-03-01' })).id
    for (const command of ['pause', 'resume', 'reactivate']) await refused(scheduled, command, {})
    t.like(await tell(scheduled, 'cancel', { at: 'now' }), { status: 'canceled' })

    const { id } = await buy()
    for (const command of ['resume', 'reactivate']) await refused(id, command, {})
    await pay(id, 'pm_decline_funds')
    await clock('2024-02-01')
    for (const [command, body] of [
      ['pause', {}],
      ['resume', {}],
      ['change', { bundleId: 'other' }],
      ['change', { bundleId: 'other', at: 'period_end' }],
    ] as [string, object][])
      t.regex((await refused(id, command, body)).detail, /past_due/)
    await tell(trialing, 'cancel', { at: 'now' })
  })

  story('a paused subscription can be canceled, and not changed or paused again', async (world) => {
    const { t, buy, tell, refused } = await openBilling(world, { bundles: { other: {} } })
    const { id } = await buy()
    await tell(id, 'pause')
    for (const [command, body] of [
      ['pause', {}],
      ['change', { bundleId: 'other' }],
    ] as [string, object][])
      await refused(id, command, body)
    t.like(await tell(id, 'cancel', { at: 'period_end' }), { status: 'canceled', endReason: 'canceled' })
  })

  story('a piece of a period that is too short to cost anything needs no payment', async (world) => {
    const { t, buy, payments, access } = await openBilling(world, { now: '2024-01-30T00:00:00Z', bundle: monthly(10) })
    const bought = await buy({ billingDay: 31 })
    t.like(bought, { status: 'active', nextPayment: { amount: 10, on: '2024-01-31' } })
    await access(true)
    t.deepEqual(await payments(bought.id), [['2024-01-30', 0, 'succeeded']])
  })

  story('days without access are not charged when a payment comes late', async (world) => {
    const { t, buy, clock, pay, bills, payments } = await openBilling(world, {
      bundle: { pricing: { amount: 100, currency: 'USD', interval: 'day' }, trialDays: 1 },
      billing: { actionHours: 24 * 7 },
    })
    const { id } = await buy({ paymentMethod: undefined })
    await clock('2024-01-03')
    t.is((await pay(id, 'pm_sca')).status, 'paused')
    await clock('2024-01-08')
    const { url } = (await bills(id))[0].attempts[0].nextAction
    await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"outcome":"approve"}' })
    await eventually(async () => {
      const made = await payments(id)
      return made.length === 2 && made.every(([, , status]) => status === 'succeeded')
    })
    t.deepEqual(await payments(id), [
      ['2024-01-03', 100, 'succeeded'],
      // It was over before it was paid: its price pays for the one that runs.
      ['2024-01-08', 0, 'succeeded'],
    ])
  })

  story('firstPaymentHours: a first payment that is not made in time ends the subscription', async (world) => {
    const { t, buy, clock, read, access } = await openBilling(world, { billing: { firstPaymentHours: 2 } })
    const { id } = await buy({ paymentMethod: 'pm_decline_funds' })
    await clock('2024-01-01T01:59:59Z', [])
    t.is((await read(id)).status, 'incomplete')
    await clock('2024-01-01T02:00:00Z', ['incomplete_expired'])
    t.like(await read(id), { status: 'incomplete_expired', endReason: 'payment_not_made' })
    await access(false)
  })

  story('a command that is repeated under its key is done once', async (world) => {
    const { t, buy, clock, shop, payments } = await openBilling(world, { now: '2024-06-01T00:00:00Z', bundles: { more: monthly(5_800) } })
    const { id } = await buy()
    await clock('2024-06-16')
    const change = () => shop.api.post(`/subscriptions/${id}/change`, { bundleId: 'more' }, { 'idempotency-key': 'upgrade' })
    const [first, second] = [await change(), await change()]
    t.is(first.status, 200)
    t.deepEqual(second.body, first.body)
    t.is((await payments(id)).length, 2)
  })

  story('versions: applyTo all moves every subscriber, with progress, the price from the next period', async (world) => {
    const { t, buy, clock, read, shop, payments } = await openBilling(world)
    const ids: string[] = []
    for (let n = 0; n < 12; n += 1) ids.push((await buy({ customerId: `c${n}` })).id)
    await shop.api.post(`/subscriptions/${ids[11]}/cancel`, { at: 'now' })
    const entitlements = [{ type: 'feature_flag', value: 'newly_included' }]
    const put = await shop.api.put('/storefronts/us-store/bundles/pro-plan', {
      name: 'Pro Plan',
      pricing: { amount: 3_500, currency: 'USD', interval: 'month' },
      entitlements,
      applyTo: 'all',
    })
    t.like(put, { status: 200, body: { version: 2, rollout: { version: 2, status: 'running' } } })
    const early = await shop.api.put('/storefronts/us-store/bundles/pro-plan', {
      name: 'Pro',
      pricing: { amount: 9_900, currency: 'USD', interval: 'month' },
      entitlements,
    })
    t.true(early.status === 409 || early.body.rollout.status === 'finished', 'a version for new ones does not get mixed up with one for all')
    if (early.status === 200) return
    for (;;) {
      const { rollout } = (await shop.api.get('/storefronts/us-store/bundles/pro-plan')).body
      if (rollout.status === 'running') continue
      t.like(rollout, { status: 'finished', seen: 12, moved: 11 })
      break
    }
    t.like(await read(ids[0] ?? ''), { bundleVersion: 2, nextPayment: { amount: 3_500 } })
    t.like(await read(ids[11] ?? ''), { bundleVersion: 1, status: 'canceled' })
    const set = (await shop.api.get('/storefronts/us-store/customers/c0/entitlements')).body
    t.true(JSON.stringify(set).includes('newly_included'))
    await clock('2024-02-01')
    t.deepEqual(await payments(ids[0] ?? ''), [
      ['2024-01-01', 2_900, 'succeeded'],
      ['2024-02-01', 3_500, 'succeeded'],
    ])
  })
})
