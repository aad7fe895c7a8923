/** What callers, disputes, payments and refunds do to a subscription: single steps, beside the lives that `test/simulation` plays. */
import test from 'ava'
import { paymentIdOfBill } from '../../control-plane/billing/bills.ts'
import type { Dispute, Payment, Refund } from '../../control-plane/schemas/payment.ts'
import type { Bill, Subscription } from '../../control-plane/schemas/subscription.ts'
import { afterDispute } from '../../control-plane/subscriptions/machine/after-dispute.ts'
import { afterPayment } from '../../control-plane/subscriptions/machine/after-payment.ts'
import { afterTime } from '../../control-plane/subscriptions/machine/after-time.ts'
import { cancel, endSubscription, reactivate, refuseWhilePaying } from '../../control-plane/subscriptions/machine/end-subscription.ts'
import { afterMoneyBack, reconciled } from '../../control-plane/subscriptions/machine/money-back.ts'
import { pauseCollection, pauseService, resume } from '../../control-plane/subscriptions/machine/pause.ts'
import { takeEffect } from '../../control-plane/subscriptions/machine/take-effect.ts'
import { attemptOf, HOUR, paymentOf } from '../support/payments.ts'
import { billing, billOf, day, end31, moment, must, notAllowed, now, period, pricing, start, subscriptionOf, types } from '../support/subscriptions.ts'

const suspended = { status: 'suspended', suspendedAt: end31 }
const over = { status: 'canceled', endedAt: now, endReason: 'canceled' }
const paused = { status: 'paused', pausedAt: day(6), pauseReason: 'asked' }
const nextId = paymentIdOfBill('t', 'sub', 1)

test('only an active subscription is paused, while nothing is being paid, and until a time to come', (t) => {
  const resumeAt = day(20)
  t.like(pauseService(subscriptionOf(), resumeAt, moment), { status: 'paused', pausedAt: now, pauseReason: 'asked', resumeAt, dueAt: resumeAt })
  t.is(pauseService(subscriptionOf(), resumeAt, moment).events[0]?.why, `somebody asked for it, until ${resumeAt.toISOString()}`)
  const open = pauseService(subscriptionOf(), undefined, moment)
  t.false('resumeAt' in open)
  t.like(open.events[0], { type: 'paused', why: 'somebody asked for it', at: now })
  t.throws(() => pauseService(subscriptionOf({ status: 'trialing' }), undefined, moment), notAllowed(/is trialing cannot be paused: only an active/))
  t.throws(() => pauseService(subscriptionOf({ bills: [billOf()] }), undefined, moment), notAllowed(/pay2 of the subscription is in progress/))
  const message = `resumeAt: must be after now, which is ${now.toISOString()}`
  for (const at of [now, day(2)]) t.throws(() => pauseService(subscriptionOf(), at, moment), { code: 'invalid_request', message } as never)
})

test('a pause of collection leaves access alone, happens once, and ends when it is resumed', (t) => {
  for (const status of ['active', 'trialing']) {
    const uncharged = pauseCollection(subscriptionOf({ status }), moment)
    t.like(uncharged, { status, collectionPausedAt: now })
    t.deepEqual(types(uncharged), ['collection_paused'])
    t.is(uncharged.events[0]?.why, 'somebody asked for it; access stays on')
    t.throws(() => pauseCollection(uncharged, moment), notAllowed(/already paused/))
    const charged = resume(uncharged, moment)
    t.false('collectionPausedAt' in charged)
    t.deepEqual(types(charged), ['collection_paused', 'collection_resumed'])
    t.is(charged.events[1]?.why, 'periods that begin from now on are charged')
  }
  t.throws(
    () => pauseCollection(subscriptionOf({ status: 'suspended', suspendedAt: now }), moment),
    notAllowed(/is suspended cannot be left uncharged: only an active subscription or one in its trial can$/),
  )
  t.throws(() => pauseCollection(subscriptionOf({ bills: [billOf()] }), moment), notAllowed(/in progress/))
  t.throws(() => resume(subscriptionOf(), moment), notAllowed(/cannot be resumed: it is not paused/))
})

test('a pause moves what was left of the period, or the next period begins with its payment', (t) => {
  const back = resume(subscriptionOf(paused), moment)
  t.like(back, { status: 'active', currentPeriod: { end: day(37), index: -1 }, anchor: day(37), bills: [], pauses: [{ from: day(6), to: now }] })
  t.deepEqual(types(back), ['resumed'])
  t.is(back.events[0]?.why, `the time that was left of the period runs until ${day(37).toISOString()}`)
  const atItsEnd = { ...paused, pausedAt: end31, pauseReason: 'no_payment_method' }
  const later = { ...moment, now: day(41) }
  for (const byCaller of [true, false]) {
    const billed = resume(subscriptionOf({ ...atItsEnd, resumeAt: day(50) }), later, byCaller)
    t.like(billed, { status: 'paused', anchor: day(41), bills: [{ amountMinor: 3100, onSession: byCaller, status: 'open' }] })
    t.false('resumeAt' in billed)
    t.deepEqual(types(billed), ['resuming'])
    t.like(billed.events[0], { why: 'it continues when its next period is paid', paymentId: nextId })
    t.throws(() => resume(billed, later), notAllowed(/in progress/))
  }
  const { paymentMethodId: _, ...unpaid } = subscriptionOf(atItsEnd)
  t.throws(() => resume(unpaid as Subscription, later), notAllowed(/is paused cannot be resumed: it has no payment method; PATCH one$/))
  const covered = resume({ ...unpaid, creditMinor: 4000 } as Subscription, later)
  t.like(covered, { status: 'active', creditMinor: 900, currentPeriod: { start: day(41) } })
})

test('an end drops what is open, plans nothing, and pays what was carried from the credit there is', (t) => {
  const creditFrom = [{ paymentId: 'old', amountMinor: 100 }]
  const planned = {
    cancelAtPeriodEnd: true,
    collectionPausedAt: day(3),
    scheduledChange: { bundleId: 'c' },
    bills: [billOf({ creditMinor: 40, creditFrom: [{ paymentId: 'older', amountMinor: 40 }] })],
  }
  const ended = endSubscription(subscriptionOf({ ...planned, creditMinor: 100, creditFrom, creditGivenMinor: 9, carriedMinor: 60 }), 'unpaid', day(5), moment)
  t.like(ended, { status: 'canceled', endReason: 'unpaid', endedAt: day(5), cancelAtPeriodEnd: false, dueAt: undefined })
  t.like(ended, {
    creditMinor: 80,
    creditFrom: [{ paymentId: 'old', amountMinor: 80 }],
    creditGivenMinor: -51,
    carriedMinor: 0,
    bills: [{ status: 'dropped' }],
  })
  t.false('scheduledChange' in ended || 'collectionPausedAt' in ended)
  t.like(ended.events.at(-1), { type: 'canceled', why: 'the last retry of an overdue payment failed', at: now })
  t.like(endSubscription(subscriptionOf({ creditMinor: 10, carriedMinor: 60 }), 'dispute', now, moment), {
    creditMinor: 0,
    creditGivenMinor: -10,
    carriedMinor: 0,
  })
  const never = endSubscription(subscriptionOf({ status: 'incomplete', payBy: now }), 'payment_not_made', now, moment)
  t.like(never, { status: 'incomplete_expired', events: [{ type: 'incomplete_expired', why: 'the first payment was not made in time' }] })
})

test('a cancellation now may credit the rest of the period; one at its end waits for it, where there is one', (t) => {
  t.like(cancel(subscriptionOf(), 'now', moment), { status: 'canceled', creditMinor: 0, endedAt: now, endReason: 'canceled' })
  const credited = cancel(subscriptionOf(), 'now', moment, 'prorate')
  t.like(credited, { creditMinor: 2100, creditGivenMinor: 2100, creditFrom: [{ paymentId: 'pay', amountMinor: 2100 }] })
  t.like(credited.currentPeriod, { creditableMinor: 0, paidFrom: [{ paymentId: 'pay', amountMinor: 1000 }] })
  t.deepEqual(types(credited), ['credited', 'canceled'])
  t.like(credited.events[0], { why: `what was left of the period until ${end31.toISOString()}`, amountMinor: 2100 })
  t.like(cancel(subscriptionOf(paused), 'now', moment, 'prorate'), { creditMinor: 2600 }, 'in a pause the rest stands still')
  const overdue = subscriptionOf({ status: 'past_due', graceUntil: day(12) })
  t.like(cancel(overdue, 'now', moment, 'prorate'), { creditMinor: 0, events: [{ type: 'canceled' }] })
  t.is(cancel(overdue, 'period_end', moment).status, 'canceled', 'its paid period is over')
  for (const status of ['active', 'trialing']) {
    const waits = cancel(subscriptionOf({ status }), 'period_end', moment)
    t.like(waits, { status, cancelAtPeriodEnd: true, dueAt: end31 })
    t.like(waits.events, [{ type: 'cancel_scheduled', why: `it ends with its period, on ${end31.toISOString()}` }])
    t.is(cancel(waits, 'period_end', moment), waits)
    t.like(afterTime(waits, { ...moment, now: end31 }), { status: 'canceled', endReason: 'period_end', endedAt: end31 })
    t.is(afterTime(waits, { ...moment, now: new Date(end31.getTime() - 1) }), undefined)
    const goesOn = reactivate(waits, moment)
    t.false(goesOn.cancelAtPeriodEnd)
    t.deepEqual(types(goesOn), ['cancel_scheduled', 'cancel_taken_back'])
    t.is(goesOn.events[1]?.why, 'somebody asked for it')
    t.throws(() => reactivate(goesOn, moment), notAllowed(/is not set to be canceled/))
  }
  t.throws(() => cancel(subscriptionOf(over), 'now', moment), notAllowed(/is canceled cannot be canceled$/))
  t.throws(() => reactivate(subscriptionOf({ ...over, cancelAtPeriodEnd: true }), moment), notAllowed(/cannot be reactivated: create a new one/))
})

test("a command waits for a payment under way, and only a change's payment can be given up", (t) => {
  t.notThrows(() => refuseWhilePaying(subscriptionOf({ bills: [billOf({ status: 'settled' })] })))
  t.throws(() => refuseWhilePaying(subscriptionOf({ bills: [billOf()] })), notAllowed(/wait for its outcome$/))
  t.throws(
    () => refuseWhilePaying(subscriptionOf({ bills: [billOf({ reason: 'change' })] })),
    notAllowed(/or give it up \(POST \/v1\/payments\/pay2\/cancel\)/),
  )
})

const disputeOf = (change: Partial<Dispute> = {}): Dispute =>
  ({ id: 'dp', attemptId: 'pay-1', status: 'open', amountMinor: 3100, currency: 'USD', reason: 'fraud', openedAt: now, changedAt: now, ...change }) as Dispute
const disputed = (...disputes: Dispute[]): Payment => paymentOf({ status: 'succeeded', amountMinor: 3100, countsMoneyBack: true, disputes })

test("a dispute pauses, ends or leaves a subscription by the storefront's rules", (t) => {
  const react = (rules: object, status: Dispute['status'], change: object = {}) =>
    must(afterDispute(subscriptionOf({ billing: { ...billing, ...rules }, ...change }), disputed(disputeOf({ status })), moment))
  const noted = react({}, 'open')
  t.like(noted, { status: 'active', disputes: [{ id: 'dp', status: 'open' }] })
  t.like(noted.events, [{ type: 'dispute_open', why: 'fraud (dp)', paymentId: 'pay', amountMinor: 3100 }])
  const lost = react({}, 'lost')
  t.like(lost, { status: 'canceled', endReason: 'dispute' })
  t.is(lost.events.at(-1)?.why, 'a payment was disputed, and the storefront ends access after a dispute')
  t.is(react({ onDisputeLost: 'nothing' }, 'lost').status, 'active')
  t.is(react({ onDispute: 'cancel' }, 'open').status, 'canceled')
  const off = react({ onDispute: 'pause' }, 'open', { bills: [billOf()] })
  t.like(off, { status: 'paused', pausedAt: now, pauseReason: 'dispute', bills: [{ status: 'dropped' }] })
  t.deepEqual(types(off), ['dispute_open', 'paused'])
  t.is(off.events[1]?.why, 'a payment is disputed, and the storefront pauses access during a dispute')
  t.deepEqual(types(react({ onDispute: 'pause' }, 'open', { status: 'trialing' })), ['dispute_open'])
  t.is(afterDispute(noted, disputed(disputeOf()), moment), undefined)
  const second = must(afterDispute(noted, disputed(disputeOf(), disputeOf({ id: 'second' })), moment))
  t.like(second, { disputes: [{ id: 'dp' }, { id: 'second', status: 'open' }] }, 'of the same status, but another one')
  t.deepEqual(types(second), ['dispute_open', 'dispute_open'])
  t.is(afterDispute(subscriptionOf(), disputed(), moment), undefined)
  t.is(afterDispute(subscriptionOf(), paymentOf(), moment), undefined)
  t.is(afterDispute(subscriptionOf(over), disputed(disputeOf()), moment), undefined)
})

test('a dispute that is won ends the pause that it made, once no other is open', (t) => {
  const pausedBy = (pauseReason: string, ...disputes: object[]) =>
    subscriptionOf({ ...paused, pauseReason, disputes: [{ id: 'dp', status: 'open' }, ...disputes] })
  const won = (subscription: Subscription) => must(afterDispute(subscription, disputed(disputeOf({ status: 'won' })), moment))
  t.like(won(pausedBy('dispute')), { status: 'active', disputes: [{ id: 'dp', status: 'won' }] })
  t.is(won(pausedBy('dispute', { id: 'other', status: 'lost' })).status, 'active')
  t.is(won(pausedBy('dispute', { id: 'other', status: 'open' })).status, 'paused')
  t.is(won(pausedBy('asked')).status, 'paused')
  t.is(won({ ...pausedBy('dispute'), bills: [billOf()] }).status, 'paused')
  t.is(won(subscriptionOf()).status, 'active')
})

test('the disputes of one payment count in order until the subscription has ended, and fifty are remembered', (t) => {
  const both = must(afterDispute(subscriptionOf(), disputed(disputeOf({ id: 'one', status: 'lost' }), disputeOf({ id: 'two' })), moment))
  t.deepEqual(both.disputes, [{ id: 'one', status: 'lost' }])
  const known = Array.from({ length: 50 }, (_, n) => ({ id: `dp${n}`, status: 'won' }))
  const more = must(afterDispute(subscriptionOf({ disputes: known }), disputed(disputeOf()), moment))
  t.is(more.disputes?.length, 50)
  t.deepEqual(more.disputes?.at(-1), { id: 'dp', status: 'open' })
  t.is(more.disputes?.[0]?.id, 'dp1')
})

const billed = (change: object = {}, bill: Partial<Bill> = {}) => subscriptionOf({ bills: [billOf(bill)], ...change })
const told = (subscription: Subscription, payment: Partial<Payment>) => {
  const [bill] = subscription.bills
  return afterPayment(subscription, must(bill), paymentOf({ id: 'pay2', amountMinor: 3100, ...payment }), { now: end31, repairAt: moment.repairAt })
}
const declined = attemptOf({ account: 'acme', status: 'declined', declineClass: 'funds', pspCode: '51' })

test('a bill that has taken effect goes; an open one waits while its payment does', (t) => {
  for (const status of ['settled', 'dropped'] as const) t.deepEqual(told(billed({}, { status }), { status: 'due' })?.bills, [])
  for (const status of ['due', 'processing'] as const) t.is(told(billed(), { status }), undefined)
  t.is(told(billed({}, { failedRound: 1 }), { status: 'failed' }), undefined)
  const [renewal, change] = [billOf(), billOf({ paymentId: 'pay3', reason: 'change' })]
  const canceled = must(told(billed({ bills: [renewal, change] }), { status: 'canceled' }))
  t.is(canceled.status, 'active')
  t.deepEqual(canceled.bills, [{ ...renewal, status: 'dropped' }, change])
})

test('a renewal that is paid begins its period, and stays with the account that took it', (t) => {
  const paid = must(told(billed(), { status: 'succeeded', attempts: [declined, attemptOf({ id: 'pay-2', account: 'b', status: 'succeeded' })] }))
  t.like(paid, { status: 'active', paidAt: 'b', bills: [], creditMinor: 0, currentPeriod: { start: end31, ownBill: 1, firstBill: 1, creditableMinor: 3100 } })
  t.deepEqual(paid.currentPeriod.paidFrom, [{ paymentId: 'pay2', amountMinor: 3100 }])
  t.like(paid.events, [{ type: 'renewed', paymentId: 'pay2', amountMinor: 3100 }])
  t.like(told(billed({ paidAt: 'old' }), { status: 'succeeded' }), { paidAt: 'old' })
  t.like(told(billed(), { status: 'succeeded', amountMinor: 4000 }), { creditMinor: 900, creditFrom: [{ paymentId: 'pay2', amountMinor: 900 }] })
})

test('a refused renewal begins grace; if only providers were away, access stays and they are asked again', (t) => {
  const failed = must(told(billed(), { status: 'failed', attempts: [declined] }))
  t.like(failed, { status: 'past_due', graceUntil: day(35), retryAt: day(33), bills: [{ failedRound: 1, failedAt: end31 }] })
  t.deepEqual(types(failed), ['payment_failed', 'past_due'])
  t.is(failed.events[0]?.why, 'acme declined: funds (51)')
  t.is(told(billed(), { status: 'failed', failure: 'no method', attempts: [declined] })?.events[0]?.why, 'no method')
  const untaken = must(told(billed(), { status: 'failed' }))
  t.is(untaken.status, 'past_due')
  t.is(untaken.events[0]?.why, 'no payment provider could take it')
  const uncoded = attemptOf({ account: 'acme', status: 'declined', declineClass: 'funds' })
  t.is(told(billed(), { status: 'failed', attempts: [uncoded] })?.events[0]?.why, 'acme declined: funds')
  const once = must(told(billed({ billing: { ...billing, retryHours: [] } }), { status: 'failed', attempts: [declined] }))
  t.false('retryAt' in once)
  t.regex(once.events[1]?.why ?? '', /; access until 2024-04-04T00:00:00.000Z, next retry never$/)
  const away = attemptOf({ account: 'acme', status: 'not_sent' })
  const technical = attemptOf({ status: 'declined', declineClass: 'technical' })
  for (const [round, hours] of [
    [1, 1],
    [2, 2],
    [3, 4],
    [9, 24],
  ] as const) {
    const left = must(
      told(billed({}, { round }), { status: 'failed', round, attempts: [declined, { ...away, round }, { ...technical, round }].slice(round === 1 ? 1 : 0) }),
    )
    t.like(left, { status: 'active', retryAt: new Date(end31.getTime() + hours * HOUR) }, String(round))
  }
  t.is(told(billed(), { status: 'failed', attempts: [away] })?.events[0]?.why, 'acme: not_sent')
  t.is(told(billed(), { status: 'failed', attempts: [away, declined] })?.status, 'past_due')
})

test('a renewal that waits for its customer begins grace; a change or a first payment that waits does not', (t) => {
  const waits: Partial<Payment> = { status: 'processing', attempts: [attemptOf({ status: 'requires_action' })] }
  for (const status of ['active', 'trialing']) {
    const overdue = must(told(billed({ status }), waits))
    t.is(overdue.status, 'past_due')
    t.regex(overdue.events[0]?.why ?? '', /^the customer has to act before the payment can be made; access until/)
  }
  t.is(told(billed({ status: 'incomplete', payBy: end31 }), waits), undefined)
  t.is(told(billed({}, { reason: 'change' }), waits), undefined)
  t.is(told(billed(), { ...waits, attempts: [attemptOf({ status: 'pending' })] }), undefined)
})

test('a failed payment is tried at once with the method that was set meanwhile; else a change is off, and an overdue payment retried or given up', (t) => {
  const failed: Partial<Payment> = { status: 'failed', attempts: [declined] }
  const off = must(told(billed({}, { reason: 'change' }), failed))
  t.like(off, { status: 'active', bills: [{ status: 'dropped' }], events: [{ type: 'change_declined', why: 'acme declined: funds (51)', paymentId: 'pay2' }] })
  t.like(told(billed(paused), failed), { status: 'paused', bills: [{ status: 'dropped' }], events: [{ type: 'resume_declined' }] })
  const present = { onSession: true, returnUrl: 'https://shop.example' }
  for (const [change, reason] of [
    [paused, 'change'],
    [paused, 'period'],
    [{}, 'change'],
  ] as const) {
    const again = must(told(billed({ ...change, paymentMethodId: 'pm-2' }, { reason, ...present }), failed))
    t.like(again, { bills: [{ status: 'open', round: 2, failedRound: 1, ...present }], events: [] })
  }
  for (const owes of [{ status: 'past_due', graceUntil: day(35) }, suspended]) {
    const { status } = owes
    t.like(told(billed(owes, { failedAt: day(31) }), failed), { status, retryAt: day(34) })
    t.like(told(billed(owes, { failedAt: day(20) }), failed), { status: 'canceled', endReason: 'unpaid' })
    const another = must(told(billed({ ...owes, paymentMethodId: 'pm-2' }, { failedAt: day(20) }), failed))
    t.like(another, { status, retryAt: day(33), bills: [{ round: 2 }] })
  }
  t.like(told(billed({ paymentMethodId: 'pm-2' }), failed), { status: 'past_due', bills: [{ round: 2, failedRound: 1, failedAt: end31 }] })
  const covered = must(told(billed({ ...suspended, paymentMethodId: 'pm-2', creditMinor: 4000 }), failed))
  t.deepEqual(types(covered), ['payment_failed', 'recovered'])
  t.false('retryAt' in covered, 'credit covers what is owed: there is nothing to try again')
  t.like(told(billed({ status: 'incomplete', payBy: day(33) }), failed), {
    status: 'incomplete',
    bills: [{ failedRound: 1 }],
    events: [{ type: 'payment_failed' }],
  })
})

const refundOf = (change: Partial<Refund> = {}): Refund => ({
  id: 'ref',
  attemptId: 'pay-1',
  amountMinor: 1000,
  reason: 'requested',
  status: 'succeeded',
  at: now,
  ...change,
})
const refunded = (...refunds: Refund[]): Payment => paymentOf({ status: 'succeeded', amountMinor: 3100, countsMoneyBack: true, refunds })

test('a refund comes off the period that it paid, once, and returns with the money', (t) => {
  const less = must(afterMoneyBack(subscriptionOf(), refunded(refundOf()), moment))
  t.like(less.currentPeriod, { creditableMinor: 2100, paidFrom: [{ paymentId: 'pay', amountMinor: 2100 }] })
  t.deepEqual(less.moneyBack, [{ id: 'ref', period: 0, paidMinor: 1000, worthMinor: 1000, creditMinor: 0, movedMinor: 0 }])
  t.like(less.events, [{ type: 'refunded', why: 'a refund was asked for', paymentId: 'pay', amountMinor: 1000 }])
  t.is(afterMoneyBack(less, refunded(refundOf()), moment), undefined)
  const back = must(afterMoneyBack(less, refunded(refundOf({ status: 'failed' })), moment))
  t.like(back.currentPeriod, { creditableMinor: 3100, paidFrom: [{ paymentId: 'pay', amountMinor: 3100 }] })
  t.deepEqual(back.moneyBack, [])
  t.deepEqual(types(back), ['refunded', 'refund_failed'])
  t.is(back.events[1]?.why, "the customer's bank sent it back")
  t.is(afterMoneyBack(subscriptionOf(), refunded(refundOf({ status: 'due' })), moment), undefined)
})

test('access ends with a full refund, where the bundle says so and the period was paid with it', (t) => {
  const ends = (change: object, ...refunds: Refund[]) => must(afterMoneyBack(subscriptionOf(change), refunded(...refunds), moment)).status
  const full = refundOf({ amountMinor: 3100 })
  t.is(ends({ refundEndsAccess: true }, full), 'canceled')
  const over = must(afterMoneyBack(subscriptionOf({ refundEndsAccess: true }), refunded(full, refundOf({ id: 'bounced', status: 'failed' })), moment))
  t.like(over, { status: 'canceled', endReason: 'refunded' })
  t.is(over.events.at(-1)?.why, 'its period was refunded in full, and the bundle ends access after a full refund')
  t.is(ends({ refundEndsAccess: false }, full), 'active')
  t.is(ends({ refundEndsAccess: true }, refundOf()), 'active')
  t.is(ends({ refundEndsAccess: true }, refundOf(), refundOf({ id: 'rest', amountMinor: 2100 })), 'canceled')
  t.is(ends({ refundEndsAccess: true, currentPeriod: { ...subscriptionOf().currentPeriod, creditableMinor: 0, paidFrom: [] } }, full), 'active')
})

test('a dispute that is lost is money back that tells nothing more, and forty facts are looked at in one write', (t) => {
  const lost = must(afterMoneyBack(subscriptionOf(), { ...disputed(disputeOf({ status: 'lost' })) }, moment))
  t.like(lost, { currentPeriod: { creditableMinor: 0 }, moneyBack: [{ id: 'dispute:dp', paidMinor: 3100 }], events: [] })
  const many = refunded(...Array.from({ length: 45 }, (_, n) => refundOf({ id: `r${n}`, amountMinor: 1 })))
  const first = must(afterMoneyBack(subscriptionOf(), many, moment))
  t.is(first.moneyBack?.length, 40)
  t.like(afterMoneyBack(first, many, moment), { currentPeriod: { creditableMinor: 3055 } })
  const remembered = Array.from({ length: 60 }, (_, n) => ({ id: `old${n}`, period: 0, paidMinor: 0, worthMinor: 0, creditMinor: 0, movedMinor: 0 }))
  const bounded = must(afterMoneyBack(subscriptionOf({ moneyBack: remembered }), refunded(refundOf()), moment))
  t.deepEqual([bounded.moneyBack?.length, bounded.moneyBack?.[0]?.id, bounded.moneyBack?.at(-1)?.id], [60, 'old1', 'ref'])
})

test('credit of an ended subscription arrives once, and a refund of its money recalls it', (t) => {
  const inherited = must(reconciled(subscriptionOf({ creditMinor: 5 }), { from: 'old', amountMinor: 300, recalledMinor: 0 }, moment))
  t.like(inherited, { creditMinor: 305, creditGivenMinor: 300, creditFrom: [{ paymentId: 'credit:old', amountMinor: 300 }], events: [] })
  t.deepEqual(inherited.inherited, [{ subscriptionId: 'old', amountMinor: 300, recalledMinor: 0 }])
  t.is(reconciled(inherited, { from: 'old', amountMinor: 300, recalledMinor: 0 }, moment), undefined)
  const recalled = must(reconciled(inherited, { from: 'old', amountMinor: 300, recalledMinor: 100 }, moment))
  t.like(recalled, { creditMinor: 205, inherited: [{ recalledMinor: 100 }], events: [{ type: 'credit_recalled', amountMinor: 100 }] })
  t.is(recalled.events[0]?.why, 'it came from old, whose payment was refunded or lost')
  const spent = { ...inherited, creditMinor: 105, creditFrom: [{ paymentId: 'credit:old', amountMinor: 100 }] }
  const rest = reconciled(spent, { from: 'old', amountMinor: 300, recalledMinor: 300 }, moment)
  t.like(rest, { creditMinor: 5, creditFrom: [] }, 'credit of another origin stays')
  const again = must(reconciled(recalled, { from: 'old', amountMinor: 300, recalledMinor: 40 }, moment))
  t.like(again, { creditMinor: 265, creditFrom: [{ paymentId: 'credit:old', amountMinor: 260 }], inherited: [{ recalledMinor: 40 }] })
  t.is(must(reconciled(again, { from: 'other', amountMinor: 1, recalledMinor: 0 }, moment)).inherited?.length, 2)
})

test('access does not end with a refund while something of the period, or of the payment, is left, or where a bank took the money', (t) => {
  const status = (currentPeriod: object, payment: Payment) =>
    must(afterMoneyBack(subscriptionOf({ refundEndsAccess: true, currentPeriod: { ...subscriptionOf().currentPeriod, ...currentPeriod } }), payment, moment))
      .status
  const whole = refundOf({ amountMinor: 1000 })
  const lot = { paymentId: 'pay', amountMinor: 1000 }
  t.is(status({ paidFrom: [lot, { paymentId: 'other', amountMinor: 2100 }] }, { ...refunded(whole), amountMinor: 1000 }), 'active')
  t.is(status({ creditableMinor: 1000, paidFrom: [lot] }, refunded(whole)), 'active')
  t.is(status({ creditableMinor: 1000, paidFrom: [lot] }, { ...refunded(whole), amountMinor: 1000 }), 'canceled')
  const taken = disputed(disputeOf({ status: 'lost' }))
  const unlike = [refundOf({ status: 'failed' }), refundOf({ id: 'pay-2-refund', attemptId: 'pay-2', reason: 'paid_twice' })]
  t.is(status({}, { ...taken, refunds: unlike }), 'active')
})

test('refunds from before payments marked them: those of earlier periods are known, and those of this one are in it', (t) => {
  const { countsMoneyBack: _, ...unmarked } = refunded(refundOf())
  const before = (ms: number) => ({ ...unmarked, refunds: [refundOf({ at: new Date(start.getTime() + ms) })] })
  t.is(afterMoneyBack(subscriptionOf(), before(-1), moment), undefined)
  t.truthy(afterMoneyBack(subscriptionOf(), before(0), moment))
  t.truthy(afterMoneyBack(subscriptionOf(), { ...before(-1), countsMoneyBack: true }, moment))
  const knows = (took?: object[]) =>
    subscriptionOf({
      creditRefundedMinor: 7,
      currentPeriod: { ...subscriptionOf().currentPeriod, creditableMinor: 3050, refunds: ['ref', 'two'], refundsTook: took },
    })
  t.is(afterMoneyBack(knows(), unmarked, moment), undefined)
  const bounced = { ...unmarked, refunds: [refundOf({ status: 'failed' })] }
  const other = { refundId: 'other', creditableMinor: 1, creditMinor: 1 }
  const back = must(afterMoneyBack(knows([other, { refundId: 'ref', creditableMinor: 50, creditMinor: 7 }]), bounced, moment))
  t.like(back, { creditMinor: 7, creditRefundedMinor: 0, currentPeriod: { creditableMinor: 3100, refunds: ['two'] } })
  for (const took of [undefined, [other]]) t.like(afterMoneyBack(knows(took), bounced, moment), { creditMinor: 0, currentPeriod: { creditableMinor: 3050 } })
})

test('credit of unknown origin may be the money of a payment from before origins were kept', (t) => {
  const rich = subscriptionOf({ creditMinor: 1500, currentPeriod: { ...subscriptionOf().currentPeriod, paidFrom: [] } })
  const { countsMoneyBack: _, ...unmarked } = refunded(refundOf())
  t.is(must(afterMoneyBack(rich, unmarked, moment)).creditMinor, 500)
  t.is(must(afterMoneyBack(rich, refunded(refundOf()), moment)).creditMinor, 1500)
})

test("the money of a period from before lots were kept is taken for its own bill's", (t) => {
  const { paidFrom: _, ...period } = subscriptionOf().currentPeriod
  const worth = (change: Partial<Payment>, firstBill = 1) =>
    must(afterMoneyBack(subscriptionOf({ currentPeriod: { ...period, ownBill: 1, firstBill } }), { ...refunded(refundOf()), seq: 2, ...change }, moment))
      .currentPeriod.creditableMinor
  t.is(worth({}), 2100)
  t.is(worth({ seq: 1 }), 2100)
  t.is(worth({ seq: 0 }), 3100, 'of an earlier period')
  t.is(worth({ subscriptionId: 'other' }), 3100)
  const { seq: __, ...unnumbered } = refunded(refundOf())
  t.is(must(afterMoneyBack(subscriptionOf({ currentPeriod: period }), unnumbered, moment)).currentPeriod.creditableMinor, 3100)
  t.is(worth({ id: nextId, seq: 0 }), 2100)
  // Where lots are kept, only the payment's own money is taken.
  const paidFrom = [
    { paymentId: 'old', amountMinor: 1100 },
    { paymentId: 'pay', amountMinor: 2000 },
  ]
  const kept = must(afterMoneyBack(subscriptionOf({ currentPeriod: { ...period, paidFrom } }), { ...refunded(refundOf()), seq: 0 }, moment))
  t.like(kept.currentPeriod.paidFrom, [{ amountMinor: 1100 }, { amountMinor: 1000 }])
})

const atTime = (subscription: Subscription, at: Date) => afterTime(subscription, { now: at, repairAt: moment.repairAt })

test('a period that ends is followed by the next: billed, free, uncharged, covered by credit, or paused for want of a method', (t) => {
  t.is(atTime(subscriptionOf(), new Date(end31.getTime() - 1)), undefined)
  t.like(atTime(subscriptionOf(), end31), {
    status: 'active',
    billsMade: 2,
    bills: [{ status: 'open', reason: 'period', amountMinor: 3100, openedAt: end31 }],
    events: [],
  })
  const free = must(atTime(subscriptionOf({ pricing: { ...pricing, amountMinor: 0 } }), end31))
  t.like(free, { bills: [], events: [], currentPeriod: { start: end31, ownBill: 1, firstBill: 1, creditableMinor: 0, refunds: [] } })
  const uncharged = must(atTime(subscriptionOf({ collectionPausedAt: day(3) }), end31))
  t.like(uncharged, { bills: [], events: [{ type: 'period_not_charged' }], currentPeriod: { start: end31, creditableMinor: 0 } })
  t.like(atTime(subscriptionOf({ creditMinor: 4000 }), end31), { creditMinor: 900, currentPeriod: { start: end31 }, events: [{ type: 'renewed' }] })
  const { paymentMethodId: _, ...without } = subscriptionOf()
  const stopped = must(atTime(without as Subscription, day(40)))
  t.like(stopped, { status: 'paused', pausedAt: end31, pauseReason: 'no_payment_method', bills: [], events: [{ type: 'paused' }] })
  const scheduledChange = { bundleId: 'c', bundleVersion: 1, quantity: 2, pricing }
  const changes = must(atTime(subscriptionOf({ scheduledChange, bills: [billOf({ reason: 'change' })] }), end31))
  t.like(changes, { bundleId: 'c', quantity: 2, events: [{ type: 'changed' }], bills: [{ status: 'dropped' }, { amountMinor: 6200, status: 'open' }] })
  t.false('scheduledChange' in changes)
  t.deepEqual(changes.anchor, start, 'of the same cycle')
  const weekly = must(atTime(subscriptionOf({ scheduledChange: { ...scheduledChange, pricing: { ...pricing, interval: 'week' } } }), end31))
  t.like(weekly, { anchor: end31, quotaAnchor: start, bills: [{ period: { start: end31, end: day(39) } }] })
  const gap = subscriptionOf({
    offSpans: [
      { from: day(2), to: day(3) },
      { from: end31, to: day(36) },
    ],
  })
  t.like(atTime(gap, day(36)), { offSpans: [], bills: [{ period: { start: day(36), end: day(62) } }] })
  t.deepEqual(must(atTime(gap, day(36))).offSpans, [], 'what lies before the next period is done with')
  t.is(stopped.events[0]?.why, 'there is no payment method to charge')
  t.is(changes.events[0]?.why, "to c × 2, as scheduled for the period's end")
  t.is(uncharged.events[0]?.why, `collection is paused: the period from ${end31.toISOString()} is not charged`)
  const notYet = subscriptionOf({ offSpans: [{ from: day(50), to: day(51) }] })
  t.like(atTime(notYet, end31), { offSpans: [{ from: day(50) }], bills: [{ period: { start: end31 } }] })
  const wished = { ...without, pricing: { ...pricing, amountMinor: 0 }, scheduledChange }
  const stays = must(atTime(wished as Subscription, end31))
  t.like(stays, { status: 'active', bundleId: 'b', bills: [], events: [{ type: 'change_taken_back' }] })
  t.is(stays.events[0]?.why, 'there is no payment method for c, so the free plan continues')
  const credited = must(atTime({ ...wished, creditMinor: 6200 } as Subscription, end31))
  t.like(credited, { status: 'active', bundleId: 'c', creditMinor: 0 }, 'credit covers it: no payment method is needed')
  t.like(atTime({ ...without, scheduledChange } as Subscription, end31), { status: 'paused', bundleId: 'c' }, 'what is paid for does not continue')
})

test('every payment that waits has an end: grace ends access, retries ask again, and time ends what nobody pays', (t) => {
  const incomplete = subscriptionOf({ status: 'incomplete', payBy: day(9) })
  t.like(atTime(incomplete, day(10)), { status: 'incomplete_expired', endedAt: day(9), endReason: 'payment_not_made' })
  const failed = { failedRound: 1, failedAt: end31 }
  const pastDue = (change: object = {}) => billed({ status: 'past_due', graceUntil: day(35), retryAt: day(33), ...change }, failed)
  t.like(atTime(pastDue(), day(33)), { status: 'past_due', retryAt: day(35), bills: [{ round: 2 }], events: [{ type: 'retry', paymentId: 'pay2' }] })
  t.like(atTime(pastDue(), day(35)), { status: 'suspended', suspendedAt: day(35), retryAt: day(33), events: [{ type: 'suspended' }] })
  t.like(atTime(pastDue({ graceUntil: day(60), retryAt: day(35) }), day(35)), { retryAt: day(36) }, 'the outcome of the last try is waited for')
  const late = pastDue({ graceUntil: day(60), retryAt: new Date(day(35).getTime() + 1) })
  t.like(atTime(late, day(36)), { status: 'canceled', endReason: 'unpaid', endedAt: day(36) })
  t.like(atTime(subscriptionOf({ ...paused, resumeAt: now }), now), { status: 'active', events: [{ type: 'resumed' }] })
  t.is(atTime(billed(), day(34)), undefined, 'the providers have as long as grace lasts')
  t.like(atTime(billed(), day(35)), { status: 'past_due', graceUntil: day(38), bills: [{ failedAt: day(35) }] })
  t.like(atTime(billed({ retryAt: day(33) }, { failedRound: 1 }), day(33)), { status: 'active', bills: [{ round: 2 }], events: [{ type: 'retry' }] })
  const [tried] = must(atTime(billed({ retryAt: day(33) }, { failedRound: 1, onSession: true }), day(33))).bills
  t.false('onSession' in must(tried), 'nobody is there for a retry')
  const runs = atTime(billed({ retryAt: day(33) }, { round: 4, failedRound: 3, onSession: true }), day(33))
  t.like(runs, { bills: [{ round: 5, onSession: true }] }, 'a round that runs goes on')
  const off = (change: object = {}) => billed({ status: 'suspended', suspendedAt: day(33), retryAt: day(34), ...change }, failed)
  t.deepEqual(types(must(atTime(off({ creditMinor: 4000 }), day(34)))), ['recovered'], 'credit covers what is left: there is no retry')
  t.like(atTime(off(), day(34)), { status: 'suspended', retryAt: day(35), bills: [{ round: 2 }], events: [{ type: 'retry' }] })
  t.like(atTime(subscriptionOf({ status: 'scheduled' }), start), { status: 'incomplete', bills: [{ amountMinor: 3100 }] })
  t.is(atTime(pastDue(), day(33))?.events[0]?.why, 'by the retry schedule: round 2 of attempts')
  t.is(atTime(pastDue(), day(35))?.events[0]?.why, 'the grace period is over and the payment was not made')
  t.regex(atTime(billed(), day(35))?.events[0]?.why ?? '', /^no payment provider has accepted or declined the payment/)
  for (const waits of [over, paused, suspended]) t.is(atTime(subscriptionOf(waits), day(99)), undefined)
  const unowed = subscriptionOf({ status: 'past_due', graceUntil: day(35), retryAt: day(33) })
  t.throws(() => atTime(unowed, day(33)), { message: 'subscription sub is past_due without a bill' })
})

const plan = (amountMinor: number) => ({ kind: 'plan' as const, amountMinor })
const unused = (amountMinor: number) => ({ kind: 'unused' as const, amountMinor: -amountMinor })

test('a paid change is made, with what was left of the period', (t) => {
  const terms = { bundleId: 'c', bundleVersion: 1, quantity: 2, pricing, entitlements: [], refundEndsAccess: false }
  const make = (change: Partial<Bill>, of: object = {}) => {
    const bill = billOf({ reason: 'change', period, terms, lines: [unused(2100), plan(4200)], amountMinor: 2100, creditableMinor: 6200, ...change })
    return takeEffect(subscriptionOf({ ...of, bills: [bill] }), bill, moment)
  }
  const changed = make({})
  t.like(changed, {
    bundleId: 'c',
    quantity: 2,
    bills: [],
    anchor: start,
    events: [{ type: 'changed', why: 'to c × 2, now', paymentId: 'pay2', amountMinor: 2100 }],
  })
  const lots = (left: number, brought: number) => [
    { paymentId: 'pay', amountMinor: left },
    { paymentId: 'pay2', amountMinor: brought },
  ]
  t.like(changed.currentPeriod, { ownBill: 0, firstBill: 0, creditableMinor: 6200, paidFrom: lots(2100, 2100) })
  const cheaper = make({ creditMinor: -500 })
  t.like(cheaper, { creditFrom: [{ paymentId: 'pay', amountMinor: 500 }], currentPeriod: { paidFrom: lots(1600, 2100) } })
  t.is(make({ status: 'settled' }).bills.length, 1, 'its payment is still to be stored')
  const anew = make({ anchor: now })
  t.like(anew, { anchor: now, currentPeriod: { ownBill: 1, firstBill: 0 } })
  t.like(make({ anchor: now, lines: [plan(4200)] }).currentPeriod, { ownBill: 1, firstBill: 1 })
  t.like(make({ period: billOf().period }).currentPeriod, { ownBill: 1, firstBill: 0 })
  const agreed = { currentPeriod: { ...subscriptionOf().currentPeriod, pricing: { ...pricing, amountMinor: 3000 } } }
  const seats = { ...terms, bundleId: 'b' }
  t.like(make({ terms: seats }, agreed).currentPeriod, { pricing: { amountMinor: 3000 } })
  t.false('pricing' in make({}, agreed).currentPeriod)
  t.false('pricing' in make({ terms: seats, anchor: now }, agreed).currentPeriod)
})

test('a paid period takes effect, and its time without access becomes credit', (t) => {
  const pay = (of: object, change: Partial<Bill> = {}) => {
    const bill = billOf({ period, lines: [plan(3100)], ...change })
    return takeEffect(subscriptionOf({ bills: [bill], ...of }), bill, moment)
  }
  const suspended = { status: 'suspended', suspendedAt: day(5) }
  t.is(pay({ bills: [billOf({ paymentId: 'pay3', amountMinor: 100 }), billOf({ period })] }).creditMinor, 0, 'what another bill owes says nothing')
  const back = pay({ ...suspended, creditGivenMinor: 1 })
  t.like(back, { status: 'active', bills: [], creditMinor: 600, creditGivenMinor: 601, creditFrom: [{ paymentId: 'pay2', amountMinor: 600 }] })
  t.deepEqual(back.offSpans, [{ from: day(5), to: now }])
  t.deepEqual(back.currentPeriod.paidFrom, [{ paymentId: 'pay2', amountMinor: 2500 }])
  t.like(back.events, [{ type: 'recovered' }, { type: 'suspension_credited', amountMinor: 600 }])
  t.is(back.events[1]?.why, 'time without access is not billed: the money paid for it becomes credit')
  t.is(pay(suspended, { leftOutUntil: day(8) }).creditMinor, 300)
  t.is(pay(suspended, { leftOutUntil: day(2) }).creditMinor, 600)
  t.is(pay(suspended, { lines: [plan(100), unused(50)] }).creditMinor, 100, 'no more than was paid for the plan')
  const late = { index: -1, start: day(1), end: now, wholeStart: day(1), wholeEnd: now }
  for (const [status, credit] of [
    [{ status: 'incomplete', payBy: day(12) }, 3100],
    [{ status: 'incomplete', payBy: day(12), billMissed: true }, 0],
    [paused, 3100],
    [{ status: 'active' }, 0],
  ] as const) {
    const over = pay(status, { period: late })
    t.is(over.creditMinor, credit)
    t.deepEqual(over.offSpans, credit ? [{ from: day(1), to: now }] : [])
    t.is(pay(status, { period: { ...late, end: day(12), wholeEnd: day(12) } }).creditMinor, 0, 'a period that still runs')
  }
  t.deepEqual(pay(paused).pauses, [{ from: day(6), to: now }])
  t.false('pauses' in pay({}))
  t.is(pay({}, { status: 'settled' }).bills.length, 1)
  t.deepEqual(pay({ accessFrom: day(2) }).accessFrom, day(2))
  t.deepEqual(pay({}).accessFrom, start)
  t.like(pay({}, { pricing: { ...pricing, amountMinor: 3000 } }).currentPeriod, { pricing: { amountMinor: 3000 }, refunds: [] })
  t.false('pricing' in pay({}, { pricing }).currentPeriod)
})

test('the payment, and the state before, tell why a period began', (t) => {
  const event = (of: object, change: Partial<Bill> = {}) => {
    const bill = billOf({ period, ...change })
    return takeEffect(subscriptionOf({ bills: [bill], ...of }), bill, moment).events
  }
  const span = `the period from ${start.toISOString()} to ${end31.toISOString()}`
  t.like(event({}), [{ type: 'renewed', why: `the payment was made for ${span}` }])
  t.like(event({ status: 'past_due', graceUntil: day(12) }, { amountMinor: 0, creditMinor: 1 }), [{ type: 'recovered', why: `credit covers ${span}` }])
  t.like(event({ status: 'incomplete', payBy: day(12) }, { amountMinor: 0 }), [{ type: 'activated', why: `nothing was due yet for ${span}` }])
  t.is(event({}).length, 1)
})
