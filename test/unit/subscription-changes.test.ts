/** What other terms, a beginning and a newer version do to a subscription, and when it pays or changes next: single steps. */
import test from 'ava'
import { paymentIdOfBill } from '../../control-plane/billing/bills.ts'
import type { Terms } from '../../control-plane/schemas/bundle.ts'
import type { Subscription } from '../../control-plane/schemas/subscription.ts'
import { afterTime } from '../../control-plane/subscriptions/machine/after-time.ts'
import { beginSubscription } from '../../control-plane/subscriptions/machine/begin.ts'
import { type ChangedTerms, changeTerms } from '../../control-plane/subscriptions/machine/change-terms.ts'
import { moveToVersion } from '../../control-plane/subscriptions/machine/move-to-version.ts'
import { nextPaymentOf } from '../../control-plane/subscriptions/machine/next-payment.ts'
import { noticeOf } from '../../control-plane/subscriptions/machine/notice.ts'
import { resume } from '../../control-plane/subscriptions/machine/pause.ts'
import { isSameOffer, isSameTerms, scheduledAfter, termsIn } from '../../control-plane/subscriptions/machine/scheduled-change.ts'
import { atRest, changed, dueAtOf, withRetryAt } from '../../control-plane/subscriptions/machine/state.ts'
import { HOUR } from '../support/payments.ts'
import { billing, billOf, day, end31, moment, must, notAllowed, now, period, pricing, start, subscriptionOf, types } from '../support/subscriptions.ts'

const costing = (amountMinor: number, interval: Terms['pricing']['interval'] = 'month'): Terms['pricing'] => ({ ...pricing, amountMinor, interval })
const termsOf = (change: Partial<Terms> = {}): Terms => ({
  bundleId: 'c',
  bundleVersion: 1,
  quantity: 1,
  pricing: costing(6200),
  entitlements: [],
  refundEndsAccess: false,
  ...change,
})
const own = (change: Partial<Terms> = {}): Terms => termsOf({ bundleId: 'b', pricing, ...change })
const periodOf = (change: Partial<Subscription['currentPeriod']>): Subscription['currentPeriod'] => ({ ...subscriptionOf().currentPeriod, ...change })
const without = (subscription: Subscription, ...fields: (keyof Subscription)[]): Subscription =>
  Object.fromEntries(Object.entries(subscription).filter(([name]) => !fields.includes(name as keyof Subscription))) as unknown as Subscription
const ended = { status: 'canceled', endedAt: now, endReason: 'canceled' }
const nextId = paymentIdOfBill('t', 'sub', 1)

test('terms change only while nothing else is to be done first', (t) => {
  const refused: [change: object, message: RegExp][] = [
    [{ status: 'past_due', graceUntil: day(12) }, /is past_due cannot be changed: pay the overdue payment first$/],
    [{ status: 'suspended', suspendedAt: day(5) }, /is suspended cannot be changed: pay the overdue payment first$/],
    [{ status: 'incomplete', payBy: day(12) }, /is incomplete cannot be changed: pay the overdue payment first$/],
    [{ status: 'paused', pausedAt: day(6), pauseReason: 'asked' }, /is paused cannot be changed: resume it first$/],
    [ended, /is canceled cannot be changed: it has ended; create a new one$/],
    [{ ...ended, status: 'expired' }, /is expired cannot be changed: it has ended/],
    [{ ...ended, status: 'incomplete_expired' }, /is incomplete_expired cannot be changed: it has ended/],
    [{ bills: [billOf()] }, /pay2 of the subscription is in progress; wait for its outcome$/],
    [{ bills: [billOf({ reason: 'change' })] }, /or give it up \(POST \/v1\/payments\/pay2\/cancel\)$/],
    [{ status: 'trialing', bills: [billOf()] }, /in progress/],
  ]
  for (const [change, message] of refused) {
    for (const at of ['now', 'period_end'] as const) t.throws(() => changeTerms(subscriptionOf(change), termsOf(), at, moment), notAllowed(message))
  }
  for (const status of ['active', 'trialing', 'scheduled']) {
    t.throws(() => changeTerms(subscriptionOf({ status }), own(), 'now', moment), notAllowed(/already has these terms$/), status)
  }
  t.throws(() => changeTerms(subscriptionOf({ collectionPausedAt: day(3) }), termsOf(), 'now', moment), notAllowed(/collection is paused: resume it first/))
})

test('a change now credits the rest of the period and charges the same days on the new terms, once that is paid', (t) => {
  const before = subscriptionOf()
  const { subscription, bill } = changeTerms(before, termsOf(), 'now', moment)
  // 21 of March's 31 days are left, that of the change among them: 31.00 × 21/31, and 62.00 × 21/31.
  t.deepEqual(bill, {
    paymentId: nextId,
    seq: 1,
    reason: 'change',
    status: 'open',
    period,
    terms: termsOf(),
    lines: [
      { kind: 'unused', bundleId: 'b', bundleVersion: 1, quantity: 1, amountMinor: -2100, start: now, end: end31 },
      { kind: 'plan', bundleId: 'c', bundleVersion: 1, quantity: 1, amountMinor: 4200, start: now, end: end31 },
    ],
    creditMinor: 0,
    creditFrom: [],
    carriedMinor: 0,
    amountMinor: 2100,
    openedAt: now,
    creditableMinor: 6200,
    round: 1,
    failedRound: 0,
    onSession: true,
  })
  t.deepEqual(subscription.bills, [must(bill)])
  t.like(subscription, { bundleId: 'b', pricing, currentPeriod: before.currentPeriod, billsMade: 2, dueAt: end31, repairAt: moment.repairAt })
  t.deepEqual(subscription.events, [{ seq: 0, at: now, type: 'change_asked', why: 'to c × 1', paymentId: nextId, amountMinor: 2100 }])
})

test('the rest of a period is counted by calendar days, its last one too, or to the second', (t) => {
  const amount = (at: Date, of: object = {}) => must(changeTerms(subscriptionOf(of), termsOf(), 'now', { ...moment, now: at }).bill).amountMinor
  const noon = new Date(now.getTime() + 12 * HOUR)
  t.is(amount(noon), 2100)
  t.is(amount(new Date(end31.getTime() - 1)), 100)
  t.is(amount(start), 3100)
  t.is(amount(noon, { billing: { ...billing, proration: 'second' } }), 2050, '20.5 days')
  // 10.00 × 21/31 is 6.774, and 20.00 × 21/31 is 13.548: each line is rounded, not their difference.
  const lines = must(
    changeTerms(subscriptionOf({ currentPeriod: periodOf({ creditableMinor: 1000 }) }), termsOf({ pricing: costing(2000) }), 'now', moment).bill,
  ).lines
  t.deepEqual(
    lines.map(({ amountMinor }) => amountMinor),
    [-677, 1355],
  )
  const free = must(changeTerms(subscriptionOf({ currentPeriod: periodOf({ creditableMinor: 0, paidFrom: [] }) }), termsOf(), 'now', moment).bill)
  t.is(free.lines[0]?.amountMinor, 0, 'and not minus zero')
  t.is(free.amountMinor, 4200)
})

test('money that a change leaves over becomes credit, and credit is used before the card', (t) => {
  // 31.00 × 21/31 is credited, and 15.50 × 21/31 charged: 10.50 is left over, of the money that the period was paid with.
  const { subscription, bill } = changeTerms(subscriptionOf(), termsOf({ pricing: costing(1550) }), 'now', moment)
  t.like(bill, { status: 'settled', amountMinor: 0, creditMinor: -1050, creditableMinor: 1550 })
  t.like(subscription, { bundleId: 'c', creditMinor: 1050, creditFrom: [{ paymentId: 'pay', amountMinor: 1050 }], billsMade: 2 })
  t.like(subscription.currentPeriod, { ...period, ownBill: 0, creditableMinor: 1550, paidFrom: [{ paymentId: 'pay', amountMinor: 1050 }] })
  t.deepEqual(subscription.bills, [must(bill)], 'its payment is still to be stored')
  t.deepEqual(types(subscription), ['change_asked', 'changed'])
  const rich = changeTerms(subscriptionOf({ creditMinor: 500 }), termsOf(), 'now', moment)
  t.like(rich, { bill: { status: 'open', creditMinor: 500, amountMinor: 1600 }, subscription: { bundleId: 'b', creditMinor: 0 } })
})

test('a change to another interval begins a new period now', (t) => {
  const to = (interval: 'week' | 'year', amountMinor: number, of: object = {}) =>
    changeTerms(subscriptionOf(of), termsOf({ pricing: costing(amountMinor, interval) }), 'now', moment)
  const yearEnd = new Date('2025-03-11T00:00:00Z')
  const yearly = to('year', 36500)
  t.like(yearly.bill, { anchor: now, amountMinor: 34400, creditableMinor: 36500, onSession: true, reason: 'change', terms: { bundleId: 'c' } })
  t.deepEqual(yearly.bill?.period, { index: 0, start: now, end: yearEnd, wholeStart: now, wholeEnd: yearEnd })
  t.like(yearly.bill?.lines[0], { kind: 'unused', amountMinor: -2100, start: now, end: end31 })
  t.like(yearly.bill?.lines[1], { kind: 'plan', amountMinor: 36500, start: now, end: yearEnd })
  t.like(yearly.subscription, { anchor: start, bundleId: 'b' }, 'not before it is paid')
  const weekly = to('week', 700, { billingDay: 1 })
  t.like(weekly.subscription, { bundleId: 'c', anchor: now, quotaAnchor: start, creditMinor: 1400, currentPeriod: { start: now, end: day(18), ownBill: 1 } })
  t.false('billingDay' in weekly.subscription, 'a day of the month is none of the week')
  // The first period runs to the last such day within a year, and costs its 355 of the 365 days from 2024-03-01.
  const onTheFirst = to('year', 36500, { billingDay: 1 })
  const [wholeStart, wholeEnd] = [start, new Date('2025-03-01T00:00:00Z')]
  t.like(onTheFirst.bill, { anchor: wholeEnd, amountMinor: 33400, creditableMinor: 36500, period: { start: now, end: wholeEnd, wholeStart, wholeEnd } })
  const counted = changeTerms(subscriptionOf(), termsOf({ pricing: { ...costing(6100), intervalCount: 2 } }), 'now', moment)
  t.like(counted.bill, { anchor: now, amountMinor: 4000, period: { start: now, end: new Date('2024-05-11T00:00:00Z') } })
})

test('seats of a period cost the agreed price, and another version or bundle the present price', (t) => {
  // For the next period 62.00 is agreed by now.
  const raised = subscriptionOf({ pricing: costing(6200), currentPeriod: periodOf({ pricing }) })
  const bill = (terms: Terms, of = raised) => must(changeTerms(of, terms, 'now', moment).bill)
  t.like(bill(own({ quantity: 3, pricing: costing(6200) })), { amountMinor: 4200, creditableMinor: 9300 })
  t.like(bill(own({ quantity: 3, pricing: costing(6200), bundleVersion: 2 })), { amountMinor: 10_500, creditableMinor: 18_600 })
  t.like(bill(termsOf({ quantity: 3 })), { amountMinor: 10_500, creditableMinor: 18_600 })
  t.like(bill(own({ quantity: 3 }), subscriptionOf()), { amountMinor: 4200, creditableMinor: 9300 })
})

test('other terms cost nothing yet before a subscription begins, and in its trial', (t) => {
  const inTrial = subscriptionOf({ status: 'trialing', trialEnd: end31, collectionPausedAt: day(3), scheduledChange: termsOf({ bundleId: 'd' }) })
  const trial = changeTerms(inTrial, termsOf(), 'now', moment)
  t.false('bill' in trial)
  t.like(trial.subscription, { status: 'trialing', bundleId: 'c', anchor: end31, dueAt: end31, bills: [], billsMade: 1, currentPeriod: { end: end31 } })
  t.false('scheduledChange' in trial.subscription)
  t.deepEqual(types(trial.subscription), ['changed', 'change_taken_back'])
  t.is(trial.subscription.events[0]?.why, 'to c × 1, in the trial, which ends as agreed')

  const scheduled = { status: 'scheduled', anchor: day(2), scheduledChange: termsOf({ bundleId: 'd' }) }
  for (const at of ['now', 'period_end'] as const) {
    const early = changeTerms(subscriptionOf(scheduled), termsOf({ quantity: 2 }), at, moment)
    t.false('bill' in early)
    t.like(early.subscription, { status: 'scheduled', bundleId: 'c', quantity: 2, anchor: start, bills: [] })
    t.false('scheduledChange' in early.subscription)
    t.deepEqual(early.subscription.events, [{ seq: 0, at: now, type: 'changed', why: 'to c × 2, before its start' }])
  }
  t.deepEqual(changeTerms(subscriptionOf({ ...scheduled, trialEnd: day(15) }), termsOf(), 'now', moment).subscription.anchor, day(15))
})

test("a change at the period's end costs nothing now, and choosing the present terms takes it back", (t) => {
  const to = (terms: Terms, change: object = {}): ChangedTerms => changeTerms(subscriptionOf(change), terms, 'period_end', moment)
  for (const status of ['active', 'trialing']) {
    const { subscription, bill } = to(termsOf({ quantity: 4 }), { status, collectionPausedAt: day(3) })
    t.is(bill, undefined)
    t.like(subscription, { status, bundleId: 'b', bills: [], billsMade: 1 })
    t.deepEqual(subscription.scheduledChange, termsOf({ quantity: 4 }))
    t.deepEqual(subscription.events, [{ seq: 0, at: now, type: 'change_scheduled', why: `to c × 4, on ${end31.toISOString()}` }])
  }
  const back = to(own(), { scheduledChange: termsOf() })
  t.false('scheduledChange' in back.subscription)
  t.deepEqual(back.subscription.events, [{ seq: 0, at: now, type: 'change_taken_back', why: 'it stays on its terms' }])
  t.throws(() => to(own()), notAllowed(/already has these terms$/))
  for (const terms of [own(), termsOf()]) {
    t.throws(() => to(terms, { cancelAtPeriodEnd: true, scheduledChange: termsOf() }), notAllowed(/will end with its period; reactivate it first$/))
  }
})

test('terms are the same by bundle and version, and by the number of seats', (t) => {
  for (const [change, offer, terms] of [
    [{}, true, true],
    [{ quantity: 2 }, true, false],
    [{ bundleId: 'd' }, false, false],
    [{ bundleVersion: 2 }, false, false],
    [{ pricing: costing(1) }, true, true],
  ] as const) {
    t.is(isSameOffer(termsOf(), termsOf(change)), offer, JSON.stringify(change))
    t.is(isSameTerms(termsOf(), termsOf(change)), terms, JSON.stringify(change))
  }
  t.deepEqual(termsIn({ ...subscriptionOf(), ...termsOf({ refundEndsAccess: true, quantity: 7 }) }), termsOf({ refundEndsAccess: true, quantity: 7 }))
})

test('a scheduled change outlives other seats, with their number where it was to keep the old one, and no other bundle', (t) => {
  const left = (scheduled: Terms | undefined, terms: Terms) => scheduledAfter(subscriptionOf({ quantity: 2, scheduledChange: scheduled }), terms)
  const what = "that was scheduled for the period's end"
  t.deepEqual(left(undefined, own({ quantity: 3 })), { scheduledChange: undefined, events: [] })
  t.deepEqual(left(termsOf({ quantity: 2 }), own({ quantity: 3 })), {
    scheduledChange: termsOf({ quantity: 3 }),
    events: [{ type: 'change_kept', why: `the change to c × 2 ${what} stands, with quantity 3` }],
  })
  t.deepEqual(left(termsOf({ quantity: 5 }), own({ quantity: 3 })), {
    scheduledChange: termsOf({ quantity: 5 }),
    events: [{ type: 'change_kept', why: `the change to c × 5 ${what} stands, with quantity 5` }],
  })
  t.deepEqual(left(termsOf({ quantity: 2 }), termsOf({ bundleId: 'd' })), {
    scheduledChange: undefined,
    events: [{ type: 'change_taken_back', why: `the change to c × 2 ${what} is replaced by this one` }],
  })
  for (const made of [own({ quantity: 3 }), own({ quantity: 1 }), own({ bundleVersion: 2, quantity: 4 })]) {
    const events = [{ type: 'change_taken_back', why: `the change to b × ${made.quantity} ${what} is already made by this one` }]
    t.deepEqual(left(made, made), { scheduledChange: undefined, events })
  }
})

const v2 = (change: Partial<Terms> = {}): Terms => own({ bundleVersion: 2, quantity: 9, pricing: costing(9300), refundEndsAccess: true, ...change })
const grants = [{ key: 'new' }] as unknown as Terms['entitlements']

test('a version for all reaches everyone on the bundle, once', (t) => {
  t.is(moveToVersion(subscriptionOf(ended), v2(), moment), undefined)
  t.is(moveToVersion(subscriptionOf(), v2({ bundleId: 'c' }), moment), undefined)
  t.is(moveToVersion(subscriptionOf({ bundleVersion: 2 }), v2(), moment), undefined)
  t.is(moveToVersion(subscriptionOf({ bundleVersion: 3 }), v2(), moment), undefined)
  const told = [{ seq: 0, at: now, type: 'moved_to_version', why: 'version 2 of b is for all subscribers' }]
  const moved = must(moveToVersion(subscriptionOf({ quantity: 2 }), v2({ entitlements: grants }), moment))
  t.like(moved, { bundleVersion: 2, quantity: 2, pricing: costing(9300), entitlements: grants, refundEndsAccess: true, anchor: start, bills: [] })
  t.false('scheduledChange' in moved)
  t.deepEqual(moved.events, told)
  t.deepEqual(moved.currentPeriod, periodOf({ pricing }), 'what was agreed for this period')
  t.deepEqual(nextPaymentOf(moved), { amountMinor: 18_600, on: end31 })
  const twice = must(moveToVersion(moved, v2({ bundleVersion: 3, pricing: costing(100) }), moment))
  t.like(twice, { bundleVersion: 3, pricing: costing(100), currentPeriod: { pricing } })
  t.deepEqual(must(moveToVersion(subscriptionOf(), v2({ pricing }), moment)).currentPeriod, periodOf({}), 'the price is the same')
  for (const status of [
    { status: 'past_due', graceUntil: day(12) },
    { status: 'paused', pausedAt: day(6), pauseReason: 'asked' },
  ]) {
    t.like(moveToVersion(subscriptionOf(status), v2(), moment), { ...status, bundleVersion: 2 })
  }

  for (const [change, anchor] of [
    [{}, start],
    [{ trialEnd: day(15) }, day(15)],
  ] as const) {
    const early = must(
      moveToVersion(subscriptionOf({ status: 'scheduled', anchor: day(2), quantity: 2, ...change }), v2({ pricing: costing(700, 'week') }), moment),
    )
    t.like(early, { status: 'scheduled', bundleVersion: 2, quantity: 2, anchor, pricing: costing(700, 'week') })
    t.false('scheduledChange' in early)
    t.deepEqual(early.events, told)
  }
})

test('another interval for all begins with the next period, but entitlements at once', (t) => {
  const yearly = v2({ pricing: costing(36_500, 'year'), entitlements: grants })
  const moved = must(moveToVersion(subscriptionOf({ quantity: 2 }), yearly, moment))
  t.like(moved, { bundleVersion: 1, quantity: 2, pricing, entitlements: grants, currentPeriod: periodOf({}) })
  t.deepEqual(moved.scheduledChange, { ...yearly, quantity: 2 })
  t.deepEqual(types(moved), ['moved_to_version'])
  t.is(moveToVersion(moved, yearly, moment), undefined, 'it is there already')
  const newer = subscriptionOf({ scheduledChange: own({ bundleVersion: 3 }) })
  t.like(moveToVersion(newer, yearly, moment) ?? newer, { scheduledChange: { bundleVersion: 3 } })
  t.like(moveToVersion(subscriptionOf({ scheduledChange: own({ quantity: 5 }) }), yearly, moment), { scheduledChange: { bundleVersion: 2, quantity: 5 } })
  const twoMonthly = must(moveToVersion(subscriptionOf(), v2({ pricing: { ...pricing, intervalCount: 2 } }), moment))
  t.like(twoMonthly, { bundleVersion: 1, scheduledChange: { bundleVersion: 2 } })
})

test('a version for all leaves a requested change to another bundle as it is, and only the seats of a change of their number', (t) => {
  const leaving = { scheduledChange: termsOf({ quantity: 4 }) }
  const moved = must(moveToVersion(subscriptionOf(leaving), v2(), moment))
  t.like(moved, { bundleVersion: 2, ...leaving })
  const stays = must(moveToVersion(subscriptionOf(leaving), v2({ pricing: costing(36_500, 'year'), entitlements: grants }), moment))
  t.like(stays, { bundleVersion: 1, entitlements: grants, ...leaving })
  t.like(must(moveToVersion(subscriptionOf({ scheduledChange: termsOf({ bundleVersion: 2 }) }), v2({ pricing: costing(1, 'year') }), moment)), {
    scheduledChange: { bundleId: 'c' },
  })
  const seats = must(moveToVersion(subscriptionOf({ scheduledChange: own({ quantity: 5 }) }), v2(), moment))
  t.like(seats, { bundleVersion: 2, quantity: 1, scheduledChange: { bundleId: 'b', bundleVersion: 2, quantity: 5, pricing: costing(9300) } })
})

const beginning = (change: object = {}) => subscriptionOf({ status: 'scheduled', billsMade: 3, createdAt: start, ...change })
const starts = (change: object, at = start) => beginSubscription(beginning(change), { ...moment, now: at })

test('a subscription begins with its trial, free, or waiting for its first payment', (t) => {
  const trial = starts({ trialEnd: day(15) }, new Date(day(15).getTime() - 1))
  t.like(trial, { status: 'trialing', accessFrom: start, bills: [], billsMade: 3, dueAt: end31 })
  t.like(trial.events, [{ type: 'trial_started', why: `a trial until ${day(15).toISOString()}` }])

  const free = starts({ pricing: costing(0) })
  t.like(free, { status: 'active', accessFrom: start, bills: [], billsMade: 3, events: [{ type: 'activated', why: 'the bundle is free' }] })
  t.deepEqual(free.currentPeriod, { ...period, ownBill: 3, firstBill: 3, creditableMinor: 0, refunds: [] })

  const owed = starts({})
  const payBy = new Date(start.getTime() + 23 * HOUR)
  t.like(owed, { status: 'incomplete', payBy, dueAt: payBy, billsMade: 4, currentPeriod: { ...period, ownBill: 3, firstBill: 3, creditableMinor: 0 } })
  t.false('accessFrom' in owed)
  t.like(owed.bills, [{ reason: 'period', seq: 3, amountMinor: 3100, onSession: true, openedAt: start, period }])
  const why = `access begins when it is paid; payment is due by ${payBy.toISOString()}`
  t.like(owed.events, [{ type: 'first_payment_due', why, paymentId: paymentIdOfBill('t', 'sub', 3) }])
})

test('the customer is there only for the first payment of a subscription that begins when it is made', (t) => {
  const isThere = (change: object, at = day(15)) => must(starts(change, at).bills[0]).onSession
  t.true(isThere({ createdAt: new Date(start.getTime() + 1) }))
  t.true(isThere({ createdAt: start }))
  t.false(isThere({ createdAt: new Date(start.getTime() - 1) }), 'its start was scheduled')
  t.false(isThere({ trialEnd: day(15), anchor: day(15) }), 'its trial has ended')
})

test('a subscription that begins late is billed from the period that contains now, or from its start, and a trial from its end', (t) => {
  const january = new Date('2024-01-10T00:00:00Z')
  const early = { anchor: january, currentPeriod: periodOf({ start: january }) }
  const [february, march, april] = [new Date('2024-02-10T00:00:00Z'), new Date('2024-03-10T00:00:00Z'), new Date('2024-04-10T00:00:00Z')]
  t.like(starts(early, now).bills[0], { amountMinor: 3100, period: { index: 2, start: march, end: april } })
  t.like(starts({ ...early, billMissed: true }, now).bills[0], { amountMinor: 3100, period: { index: 0, start: january, end: february } })
  t.like(starts({ ...early, pricing: costing(0) }, now), { accessFrom: march, currentPeriod: { start: march, end: april } })
  for (const billMissed of [true, false]) {
    const tried = starts({ anchor: day(15), trialEnd: day(15), billMissed }, day(15))
    t.like(tried, { status: 'incomplete', bills: [{ amountMinor: 3100, period: { start: day(15), end: day(46) } }] })
  }
})

test('a first period that credit covers, or that is too short to cost anything, begins at once', (t) => {
  const covered = starts({ creditMinor: 5000 })
  t.like(covered, {
    status: 'active',
    creditMinor: 1900,
    accessFrom: start,
    bills: [{ status: 'settled' }],
    currentPeriod: { ownBill: 3, creditableMinor: 3100 },
  })
  t.is(covered.events.length, 1)
  t.regex(covered.events[0]?.why ?? '', /^credit covers the period/)
  // One of 31 days at 0.10 is 0.003.
  const short = starts({ pricing: costing(10), billingDay: 1, anchor: end31, currentPeriod: periodOf({ start: day(31) }) }, day(31))
  t.like(short, { status: 'active', creditMinor: 0, currentPeriod: { start: day(31), end: end31 }, events: [{ type: 'activated' }] })
})

test('the next payment is the one that time would bring, found without a trace', (t) => {
  const next = (change: object = {}) => {
    const subscription = subscriptionOf(change)
    const copy = structuredClone(subscription)
    const answer = nextPaymentOf(subscription)
    t.deepEqual(subscription, copy)
    return answer
  }
  const whole = { amountMinor: 3100, on: end31 }
  const [open, changing] = [{ bills: [billOf({ amountMinor: 77 })] }, { bills: [billOf({ reason: 'change', amountMinor: 77, creditMinor: 500 })] }]
  const noMethod = without(subscriptionOf(), 'paymentMethodId')
  for (const status of ['active', 'trialing']) {
    t.deepEqual(next({ status }), whole)
    t.deepEqual(nextPaymentOf({ ...noMethod, status } as Subscription), whole)
    t.deepEqual(next({ status, ...open }), { amountMinor: 77, on: end31 })
    t.deepEqual(next({ status, ...changing }), { amountMinor: 2600, on: end31 }, 'the credit of a change that does not come about pays for it')
    t.deepEqual(next({ status, creditMinor: 600, carriedMinor: 30 }), { amountMinor: 2530, on: end31 })
    t.deepEqual(next({ status, creditMinor: 4000 }), { amountMinor: 0, on: end31 })
    t.deepEqual(next({ status, scheduledChange: termsOf({ quantity: 2 }) }), { amountMinor: 12_400, on: end31 })
    t.is(next({ status, scheduledChange: termsOf({ pricing: costing(0) }) }), undefined)
    t.is(next({ status, pricing: costing(0) }), undefined)
    t.is(next({ status, pricing: costing(0), bills: [billOf({ status: 'settled' })] }), undefined, 'what was paid before is no next payment')
    t.deepEqual(next({ status, pricing: costing(0), scheduledChange: termsOf() }), { amountMinor: 6200, on: end31 })
    t.is(next({ status, cancelAtPeriodEnd: true, ...open }), undefined)
    t.is(next({ status, collectionPausedAt: day(3) }), undefined)
  }
  const wished = { ...noMethod, pricing: costing(0), scheduledChange: termsOf() }
  t.deepEqual(nextPaymentOf(wished), { amountMinor: 6200, on: end31 })
  for (const status of [
    { status: 'incomplete', payBy: day(12) },
    { status: 'past_due', graceUntil: day(12) },
    { status: 'suspended', suspendedAt: day(5) },
  ]) {
    t.deepEqual(next({ ...status, ...open }), { amountMinor: 77, on: end31 })
    t.is(next({ ...status, ...changing }), undefined)
  }
  t.is(next({ status: 'paused', pausedAt: day(6), pauseReason: 'asked' }), undefined)
  t.is(next({ ...ended, ...open }), undefined)
})

test('a scheduled subscription pays for its first period when that begins, after the trial', (t) => {
  const april = { status: 'scheduled', anchor: end31, currentPeriod: periodOf({ start: end31 }) }
  t.deepEqual(nextPaymentOf(subscriptionOf(april)), { amountMinor: 3100, on: end31 })
  t.deepEqual(nextPaymentOf(without(subscriptionOf(april), 'paymentMethodId')), { amountMinor: 3100, on: end31 })
  t.deepEqual(nextPaymentOf(subscriptionOf({ ...april, creditMinor: 100 })), { amountMinor: 3000, on: end31 })
  t.deepEqual(nextPaymentOf(subscriptionOf({ ...april, trialEnd: day(40), anchor: day(40) })), { amountMinor: 3100, on: day(40) })
  // From April 16 to the first of May it is 15 of 30 days.
  const stub = { ...april, billingDay: 1, anchor: new Date('2024-05-01T00:00:00Z'), currentPeriod: periodOf({ start: day(47) }) }
  t.deepEqual(nextPaymentOf(subscriptionOf(stub)), { amountMinor: 1550, on: day(47) })
  t.is(nextPaymentOf(subscriptionOf({ ...april, pricing: costing(0) })), undefined)
})

test("a subscription's state says when time alone changes it next", (t) => {
  const due = (change: object) => dueAtOf(subscriptionOf(change))
  const open = { bills: [billOf()] }
  t.deepEqual(due({ status: 'scheduled' }), start)
  t.deepEqual(due({ status: 'incomplete', payBy: day(9), ...open }), day(9))
  for (const status of ['active', 'trialing']) {
    t.deepEqual(due({ status, retryAt: day(5) }), end31)
    t.deepEqual(due({ status, bills: [billOf({ reason: 'change' })] }), end31)
    t.deepEqual(due({ status, bills: [billOf({ status: 'dropped' })] }), end31)
    t.deepEqual(due({ status, ...open }), day(35), 'as long as grace would last')
    t.deepEqual(due({ status, ...open, retryAt: day(34) }), day(34))
    t.deepEqual(due({ status, ...open, retryAt: day(36) }), day(35))
    t.deepEqual(due({ status, ...open, retryAt: day(34), cancelAtPeriodEnd: true }), end31)
    t.deepEqual(due({ status, bills: [billOf({ openedAt: day(40) })] }), day(43), 'it was billed late')
    t.deepEqual(due({ status, ...open, billing: { ...billing, graceHours: 0 } }), new Date(end31.getTime() + HOUR / 6))
  }
  const pastDue = { status: 'past_due', graceUntil: day(35), ...open }
  for (const [retryAt, at] of [
    [undefined, 35],
    [day(33), 33],
    [day(36), 35],
  ] as const) {
    t.deepEqual(due({ ...pastDue, retryAt }), day(at))
  }
  t.deepEqual(due({ status: 'suspended', suspendedAt: day(5), retryAt: day(9) }), day(9))
  t.is(due({ status: 'suspended', suspendedAt: day(5) }), undefined)
  t.deepEqual(due({ status: 'paused', pausedAt: day(6), pauseReason: 'asked', resumeAt: day(20) }), day(20))
  t.is(due({ status: 'paused', pausedAt: day(6), pauseReason: 'asked' }), undefined)
  for (const status of ['canceled', 'expired', 'incomplete_expired']) t.is(due({ ...ended, status, payBy: day(9), resumeAt: day(9) }), undefined)
})

/** The time of the notice, or of the next step where that is sooner. */
const firstOf = (subscription: Subscription): Date | undefined => {
  const [told, due] = [noticeOf(subscription)?.at, dueAtOf(subscription)]
  return told && due && told < due ? told : due
}
const noticed = { billing: { ...billing, trialNoticeDays: 3, renewalNoticeDays: 7 } }

test('a renewal is told seven days ahead, once, where it will be charged', (t) => {
  const due = (change: object) => firstOf(subscriptionOf({ ...noticed, ...change }))
  const [ahead, atEnd] = [day(25), end31]
  t.deepEqual(due({}), ahead)
  const { trialNoticeDays: _, renewalNoticeDays: __, ...ofBefore } = billing
  t.deepEqual(due({ billing: ofBefore }), ahead, 'rules of before there were notices')
  t.deepEqual(due({ billing: { ...billing, renewalNoticeDays: 10 } }), day(22))
  t.deepEqual(due({ billing: { ...billing, renewalNoticeDays: 0 } }), atEnd)
  t.deepEqual(due({ billing: { ...billing, renewalNoticeDays: 30 } }), day(2))
  t.deepEqual(due({ billing: { ...billing, renewalNoticeDays: 31 } }), atEnd, 'the period is not longer than the notice')
  for (const silent of [
    { cancelAtPeriodEnd: true },
    { collectionPausedAt: now },
    { pricing: costing(0) },
    { scheduledChange: { ...subscriptionOf(), pricing: costing(0) } },
    { creditMinor: 3100 },
    { announcedEnd: end31 },
    { pricing: { ...pricing, interval: 'week', intervalCount: 3 } },
    { pricing: { ...pricing, interval: 'day', intervalCount: 27 } },
  ]) {
    t.deepEqual(due(silent), atEnd, JSON.stringify(silent))
  }
  for (const told of [
    { creditMinor: 3099 },
    { creditMinor: 3100, carriedMinor: 1 },
    { pricing: costing(0), scheduledChange: subscriptionOf() },
    { announcedEnd: day(30) },
    { pricing: { ...pricing, interval: 'week', intervalCount: 4 } },
    { pricing: { ...pricing, interval: 'day', intervalCount: 28 } },
    { pricing: { ...pricing, interval: 'year' } },
  ]) {
    t.deepEqual(due(told), ahead, JSON.stringify(told))
  }
  t.deepEqual(due({ bills: [billOf()] }), day(35), 'it is being charged')
})

test("a trial's end is told three days ahead, or when it begins", (t) => {
  const due = (change: object) => firstOf(subscriptionOf({ ...noticed, status: 'trialing', trialEnd: end31, ...change }))
  t.deepEqual(due({}), day(29))
  t.deepEqual(due({ pricing: costing(0), cancelAtPeriodEnd: true }), day(29), 'it ends in any case')
  t.deepEqual(due({ billing: { ...billing, trialNoticeDays: 0, renewalNoticeDays: 7 } }), end31)
  for (const days of [1, 2, 3]) t.deepEqual(due({ trialEnd: day(1 + days), currentPeriod: periodOf({ end: day(1 + days) }) }), start)
  t.deepEqual(due({ announcedEnd: end31 }), end31)
})

test('a notice changes nothing but the timeline, and is left out once it is late', (t) => {
  const at = (when: Date, change: object = {}) => afterTime(subscriptionOf({ ...noticed, ...change }), { ...moment, now: when })
  t.is(at(new Date(day(25).getTime() - 1)), undefined)
  for (const when of [day(25), new Date(end31.getTime() - 1)]) {
    const { events, eventsMade, dueAt, repairAt, announcedEnd, ...kept } = must(at(when))
    t.like(events[0], { type: 'renewal_upcoming', at: when, why: `the next period begins on ${end31.toISOString()}, and is charged` })
    t.deepEqual([events.length, eventsMade, dueAt, repairAt, announcedEnd], [1, 1, end31, moment.repairAt, end31])
    const { events: _, eventsMade: __, ...before } = subscriptionOf(noticed)
    t.deepEqual(kept as object, before)
  }
  const told = must(at(day(25)))
  t.is(afterTime(told, { ...moment, now: day(26) }), undefined, 'it is told once')
  const turned = must(at(end31))
  t.deepEqual(types(turned), [], 'the worker was away for that long')
  t.is(turned.bills.length, 1)
  const trial = must(at(day(29), { status: 'trialing', trialEnd: end31 }))
  t.like(trial, { status: 'trialing', dueAt: end31, events: [{ type: 'trial_ending', why: `the trial ends on ${end31.toISOString()}` }] })
})

test('a period whose end has moved is told again', (t) => {
  const told = subscriptionOf({ ...noticed, announcedEnd: end31, status: 'paused', pausedAt: day(26), pauseReason: 'asked' })
  const resumed = resume(told, { ...moment, now: day(36) })
  t.deepEqual([resumed.currentPeriod.end, resumed.dueAt, resumed.noticeAt], [day(42), day(42), day(35)])
  t.deepEqual(types(must(afterTime(resumed, { ...moment, now: day(36) }))), ['resumed', 'renewal_upcoming'])
})

test('a notice that an older version has left behind is put right, once', (t) => {
  const left = subscriptionOf({ ...noticed, announcedEnd: end31, noticeAt: day(25) })
  const mended = must(afterTime(left, { ...moment, now: day(26) }))
  t.deepEqual([mended.noticeAt, types(mended)], [undefined, []])
  t.is(afterTime(mended, { ...moment, now: day(26) }), undefined)
  const moved = subscriptionOf({ ...noticed, currentPeriod: periodOf({ end: day(60) }), noticeAt: day(25) })
  t.deepEqual(must(afterTime(moved, { ...moment, now: day(26) })).noticeAt, day(53))
})

test('a payment is tried again in the states that wait for one, and in no other', (t) => {
  for (const state of [
    { status: 'active' },
    { status: 'trialing' },
    { status: 'past_due', graceUntil: day(12) },
    { status: 'suspended', suspendedAt: day(5) },
  ]) {
    const waiting = subscriptionOf(state)
    t.deepEqual(withRetryAt(waiting, day(20)), { ...waiting, retryAt: day(20) } as Subscription)
    t.deepEqual(withRetryAt({ ...waiting, retryAt: day(20) } as Subscription, undefined), waiting)
  }
  for (const status of ['scheduled', 'incomplete', 'paused', 'canceled', 'expired', 'incomplete_expired']) {
    t.throws(() => withRetryAt(subscriptionOf({ status }), day(20)), { message: `subscription sub is ${status}, in which no payment is tried again` })
  }
})

test('a change records what happened, and when something is to be done about it', (t) => {
  const first = { seq: 6, at: start, type: 'renewed', why: 'it was' }
  const before = subscriptionOf({ events: [first], eventsMade: 7, carriedMinor: 4, metadata: { a: 'b' } })
  const [one, two] = [
    { type: 'one', why: '1', paymentId: 'pay', amountMinor: 5 },
    { type: 'two', why: '2', at: day(3) },
  ]
  const next = changed(before, { carriedMinor: undefined, creditMinor: 9 }, moment, one, two)
  t.deepEqual(next.events, [first, { ...one, seq: 7, at: now }, { ...two, seq: 8, at: day(3) }])
  t.like(next, { eventsMade: 9, creditMinor: 9, metadata: { a: 'b' }, dueAt: end31, repairAt: moment.repairAt })
  t.false('carriedMinor' in next)
  t.deepEqual([before.events, before.carriedMinor], [[first], 4])
  t.deepEqual(changed(before, { cancelAtPeriodEnd: true }, moment).events, [first])
  t.false('dueAt' in changed(subscriptionOf({ ...ended, dueAt: end31 }), {}, moment))
  const { repairAt: _, ...rest } = next
  t.deepEqual(atRest(next), rest as Subscription)
})
