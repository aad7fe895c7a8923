/** How a subscription is paid and its bill tried again, and where the money of a payment lies in it: single steps. */
import test from 'ava'
import { paymentIdOfBill } from '../../control-plane/billing/bills.ts'
import { ofPayment } from '../../control-plane/billing/lots.ts'
import type { Bill, Subscription } from '../../control-plane/schemas/subscription.ts'
import { giveUpChange, payNow, withPaymentMethod } from '../../control-plane/subscriptions/machine/pay.ts'
import { giveLots, paidFromOf, remembersAsCredit, type TakenMoney, takeLots } from '../../control-plane/subscriptions/machine/take-lots.ts'
import { triedAgain } from '../../control-plane/subscriptions/machine/try-again.ts'
import { HOUR } from '../support/payments.ts'
import { billOf, day, end31, moment, must, notAllowed, now, period, pricing, start, subscriptionOf, types } from '../support/subscriptions.ts'

const periodOf = (change: Partial<Subscription['currentPeriod']>): Subscription['currentPeriod'] => ({ ...subscriptionOf().currentPeriod, ...change })
const lots = (amounts: Record<string, number>) => Object.entries(amounts).map(([paymentId, amountMinor]) => ({ paymentId, amountMinor }))
const ended = { status: 'canceled', endedAt: now, endReason: 'canceled' }
const paused = { status: 'paused', pausedAt: end31, pauseReason: 'no_payment_method' }
const suspended = { status: 'suspended', suspendedAt: day(5) }
const [failed, running] = [
  { round: 2, failedRound: 2 },
  { round: 2, failedRound: 1 },
]
const asked = { onSession: true, returnUrl: 'https://old.example' }
const billed = (change: object = {}, bill: Partial<Bill> = {}) => subscriptionOf({ billsMade: 2, bills: [billOf(bill)], ...change })
const billIn = ({ bills }: Subscription): Bill => must(bills[0])

test('another payment method is tried at once if the last try failed; the same one only then', (t) => {
  const set = (id: string, subscription: Subscription) => withPaymentMethod(subscription, id, moment)
  t.throws(() => set('pm-2', subscriptionOf(ended)), notAllowed(/is canceled cannot be given a payment method$/))
  for (const subscription of [subscriptionOf(), billed({}, running), billed({}, { reason: 'change', ...failed })]) {
    t.is(set('pm', subscription), subscription)
    const other = set('pm-2', subscription)
    t.like(other, { paymentMethodId: 'pm-2', status: 'active', repairAt: moment.repairAt })
    t.deepEqual(other.bills, subscription.bills)
    t.deepEqual(other.events, [{ seq: 0, at: now, type: 'payment_method', why: 'somebody set another payment method' }])
  }
  const overdue = billed({ status: 'past_due', graceUntil: day(12) }, { ...failed, ...asked })
  for (const [id, why] of [
    ['pm', 'somebody asked for a retry'],
    ['pm-2', 'somebody set another payment method'],
  ] as const) {
    const again = set(id, overdue)
    t.is(again.paymentMethodId, id)
    t.deepEqual(again.bills, [billOf({ round: 3, failedRound: 2 })], 'nobody is there to act')
    t.deepEqual(again.events, [{ seq: 0, at: now, type: 'payment_method', why }])
  }
})

test('a payment method ends a pause for lack of one, and no other pause', (t) => {
  const later = { ...moment, now: day(41) }
  const { paymentMethodId: _, ...without } = subscriptionOf(paused)
  const resuming = withPaymentMethod(without as Subscription, 'pm', later)
  t.like(resuming, { status: 'paused', paymentMethodId: 'pm', bills: [{ status: 'open', amountMinor: 3100, onSession: false }] })
  t.deepEqual(types(resuming), ['payment_method', 'resuming'])
  const asked = withPaymentMethod(subscriptionOf({ ...paused, pauseReason: 'asked' }), 'pm-2', later)
  t.like(asked, { status: 'paused', bills: [] })
  t.deepEqual(types(asked), ['payment_method'])
  const again = withPaymentMethod(billed(paused, failed), 'pm-2', later)
  t.like(again, { status: 'paused', bills: [{ status: 'open', round: 3 }] }, 'it is being resumed already')
  t.deepEqual(types(again), ['payment_method'])
})

test('a customer who is there pays what is owed, and may be asked to act', (t) => {
  const pay = (subscription: Subscription, paymentMethodId?: string, returnUrl?: string, paymentId = 'pay2') =>
    payNow(subscription, { paymentId, paymentMethodId, returnUrl }, moment)
  for (const subscription of [subscriptionOf(), billed({}, { status: 'dropped' }), billed({}, { status: 'settled' }), billed({}, { paymentId: 'pay3' })]) {
    t.throws(() => pay(subscription), notAllowed(/no longer owed: what it was for is paid or given up; request that again$/))
  }
  const { paymentMethodId: _, ...without } = billed()
  t.throws(() => pay(without as Subscription), notAllowed(/has no payment method; name one in paymentMethod$/))
  t.is(pay(without as Subscription, 'pm-2').paymentMethodId, 'pm-2')

  for (const reason of ['period', 'change'] as const) {
    const again = pay(billed({}, { reason, ...failed }), undefined, 'https://new.example')
    t.deepEqual(again.bills, [billOf({ reason, round: 3, failedRound: 2, onSession: true, returnUrl: 'https://new.example' })])
    t.deepEqual(again.events, [{ seq: 0, at: now, type: 'pay_asked', why: 'the customer is present to pay', paymentId: 'pay2' }])
    const goesOn = pay(billed({}, { reason, ...running }), 'pm', 'https://new.example')
    t.deepEqual(goesOn.bills, [billOf({ reason, ...running, onSession: true, returnUrl: 'https://new.example' })])
  }
  for (const tries of [failed, running]) t.false('returnUrl' in billIn(pay(billed({}, { ...tries, ...asked }))))
  const other = pay(billed({}, running), 'pm-2')
  t.like(other, { paymentMethodId: 'pm-2', events: [{ why: 'the customer is present to pay, with another payment method' }] })
  const [first, second] = [billOf({ paymentId: 'pay3' }), billOf()]
  t.deepEqual(pay(subscriptionOf({ bills: [first, second] })).bills, [first, { ...second, onSession: true }])
})

test('a change that waits for its payment can be given up, with the credit that it used; a period cannot', (t) => {
  const waiting = billed({ creditMinor: 30 }, { reason: 'change', amountMinor: 2100, creditMinor: 500, creditFrom: lots({ old: 500 }) })
  const off = giveUpChange(waiting, 'pay2', moment)
  t.like(off, { status: 'active', bundleId: 'b', creditMinor: 530, creditFrom: lots({ old: 500 }), bills: [{ status: 'dropped' }], dueAt: end31 })
  t.deepEqual(off.events, [{ seq: 0, at: now, type: 'change_declined', why: 'somebody gave it up', paymentId: 'pay2', amountMinor: 2100 }])
  t.throws(() => giveUpChange(off, 'pay2', moment), notAllowed(/no longer owed/))
  t.throws(() => giveUpChange(waiting, 'pay3', moment), notAllowed(/no longer owed/))
  t.throws(() => giveUpChange(billed(), 'pay2', moment), notAllowed(/it pays for a period of a subscription; cancel the subscription, or the attempt/))
})

const ofMarch: Partial<Bill> = { period, failedRound: 1, pricing }
const again = (of: object, bill: Partial<Bill> = {}, at = now) => {
  const subscription = billed(of, { ...ofMarch, ...bill })
  return triedAgain(subscription, billIn(subscription), {}, { ...moment, now: at })
}

test('another round asks for the same, except in a suspension', (t) => {
  const subscription = billed({ status: 'past_due', graceUntil: day(12) }, { ...ofMarch, ...asked })
  const tried = (present: object) => triedAgain(subscription, billIn(subscription), present, moment)
  t.deepEqual(tried({}), { ...subscription, bills: [billOf({ ...ofMarch, round: 2 })] })
  const present = { onSession: true, returnUrl: 'https://new.example' }
  t.deepEqual(tried(present).bills, [billOf({ ...ofMarch, round: 2, ...present })])
  t.deepEqual(again(suspended, { reason: 'change' }).bills, [billOf({ ...ofMarch, reason: 'change', round: 2 })])
})

test('a round in a suspension asks for the days that had access, and those that will have it', (t) => {
  // Without access from the 5th to the 10th: 31.00 - 6 × 1.00.
  const next = again(suspended, { round: 4, failedRound: 4 })
  t.like(next, { status: 'suspended', billsMade: 2, creditMinor: 0, events: [] })
  const { pricing: _, ...common } = billIn(next)
  const line = { kind: 'plan', bundleId: 'b', bundleVersion: 1, quantity: 1, amountMinor: 2500, start, end: end31 }
  t.like(common, { paymentId: 'pay2', seq: 1, status: 'open', amountMinor: 2500, period, leftOutUntil: now, creditableMinor: 3100, round: 5, failedRound: 4 })
  t.deepEqual(common.lines, [line as Bill['lines'][number]])

  const amount = (of: object, bill: Partial<Bill> = {}, at = now) => billIn(again({ ...suspended, ...of }, bill, at)).amountMinor
  t.is(amount({ suspendedAt: new Date(day(5).getTime() + 12 * HOUR) }, {}, new Date(now.getTime() + 15 * HOUR)), 2500, 'the day of recovery counts')
  t.is(amount({ offSpans: [{ from: day(2), to: day(3) }] }), 2400, 'an earlier suspension')
  t.is(amount({}, { creditableMinor: 2000 }), 2500, 'the price of a whole one, whatever was refunded of it')
  t.is(amount({}, { pricing: { ...pricing, amountMinor: 6200 } }), 5000, 'at the price that it was made at')
  t.is(amount({ creditMinor: 700 }), 1800, 'credit pays for it')
})

test('for a period that is over, the days that had access are owed; if none had, what is left of the running one', (t) => {
  const april10 = day(41)
  const had = billIn(again(suspended, {}, april10))
  t.like(had, { amountMinor: 400, period, leftOutUntil: april10 })
  const none = { ...suspended, suspendedAt: start }
  // 21 of April's 30 days: 31.00 × 21/30.
  const [mayFirst, aprilFirst] = [new Date('2024-05-01T00:00:00Z'), end31]
  const never = billIn(again(none, {}, april10))
  t.like(never, { amountMinor: 2170, period: { index: 1, start: april10, end: mayFirst, wholeStart: aprilFirst, wholeEnd: mayFirst } })
  t.like(never.lines, [{ amountMinor: 2170, start: april10, end: mayFirst }])
  t.like(billIn(again(none, {}, end31)), { amountMinor: 3100, period: { start: end31, end: mayFirst } })
  t.like(billIn(again(none, {}, new Date(end31.getTime() - 1))), { amountMinor: 100, period: { start, end: end31 } }, 'its last day')
})

test('the period begins at once if credit covers what is left', (t) => {
  const credit = { creditMinor: 3000, creditFrom: lots({ old: 3000 }) }
  const back = again({ ...suspended, ...credit })
  t.like(back, { status: 'active', creditMinor: 500, creditFrom: lots({ old: 500 }), billsMade: 3 })
  t.deepEqual(
    back.bills.map(({ status, amountMinor, creditMinor, seq }) => [status, amountMinor, creditMinor, seq]),
    [
      ['dropped', 3100, 0, 1],
      ['settled', 0, 2500, 2],
    ],
  )
  t.like(back.bills[1], { reason: 'period', leftOutUntil: now, creditableMinor: 3100, pricing, lines: [{ kind: 'plan', amountMinor: 2500 }] })
  t.like(back.currentPeriod, { ...period, ownBill: 2, creditableMinor: 3100, paidFrom: lots({ old: 2500 }) })
  t.deepEqual(back.offSpans, [{ from: day(5), to: now }])
  t.deepEqual(types(back), ['recovered'])
  // What the bill had used of it already is not used twice: 26.00 of credit, and 25.00 to pay.
  const used = again(
    { ...suspended, creditMinor: 2000, creditFrom: lots({ new: 2000 }) },
    { creditMinor: 600, creditFrom: lots({ old: 600 }), amountMinor: 2500 },
  )
  t.like(used, { status: 'active', creditMinor: 100, creditFrom: lots({ new: 100 }) })
  t.deepEqual(used.currentPeriod.paidFrom, lots({ old: 600, new: 1900 }))
  const { bills } = again({ ...suspended, ...credit, bills: [billOf({ ...ofMarch }), billOf({ paymentId: 'other', reason: 'change' })] })
  t.deepEqual(
    bills.map(({ status }) => status),
    ['dropped', 'open', 'settled'],
  )
  t.false('pricing' in must(again({ ...suspended, ...credit, bills: [billOf({ period })] }).bills[1]))
})

test('the period begins if nothing is left to pay before it is over', (t) => {
  // 0.10 less 30 of 31 days at 0.10, which is 0.097.
  const cheap = { pricing: { ...pricing, amountMinor: 10 } }
  const back = again({ ...suspended, ...cheap, suspendedAt: start }, { ...cheap, creditableMinor: 10, amountMinor: 10 }, day(31))
  t.like(back, { status: 'active', creditMinor: 0, currentPeriod: { start, end: end31, ownBill: 2, creditableMinor: 10 } })
})

test('an amount too small for a charge of its own is tried as it was', (t) => {
  const limited = { ...suspended, chargeLimits: { stepMinor: 1, smallestMinor: 3000 } }
  const tried = again(limited)
  t.deepEqual(tried.bills, [billOf({ ...ofMarch, round: 2 })])
  t.false('carriedMinor' in tried)
  t.is(billIn(again({ ...suspended, chargeLimits: { stepMinor: 1, smallestMinor: 2500 } })).amountMinor, 2500)
})

const took = (change: Partial<TakenMoney> = {}): TakenMoney => ({ period: 0, paidMinor: 0, worthMinor: 0, creditMinor: 0, movedMinor: 0, ...change })
const take = (of: object, wanted: number, origin = 'pay', untold = false) => takeLots(subscriptionOf(of), origin, wanted, untold)

test('a period from before lots were kept was paid by its own bill', (t) => {
  t.deepEqual(paidFromOf(subscriptionOf()), lots({ pay: 3100 }))
  const { paidFrom: _, ...bare } = periodOf({ ownBill: 3 })
  const own = paymentIdOfBill('t', 'sub', 3)
  t.deepEqual(paidFromOf(subscriptionOf({ currentPeriod: bare })), lots({ [own]: 3100 }))
  // A first, partial period of 21 of 31 days.
  t.deepEqual(paidFromOf(subscriptionOf({ currentPeriod: { ...bare, start: now } })), lots({ [own]: 2100 }))
})

test("money comes off what the period was paid with, and lowers the period's worth", (t) => {
  const some = take({}, 1000)
  t.like(some.subscription.currentPeriod, { paidFrom: lots({ pay: 2100 }), creditableMinor: 2100 })
  t.deepEqual(some.took, took({ paidMinor: 1000, worthMinor: 1000 }))
  const mixed = take({ currentPeriod: periodOf({ paidFrom: lots({ old: 1000, pay: 2100 }), ownBill: 4 }), creditMinor: 50 }, 3000)
  t.like(mixed.subscription, { creditMinor: 50, currentPeriod: { paidFrom: lots({ old: 1000 }), creditableMinor: 1000 } })
  t.deepEqual(mixed.took, took({ period: 4, paidMinor: 2100, worthMinor: 2100 }), "the rest was not this payment's, or is used up")
  // A partial period: 21.00 was paid, and a whole one is worth 31.00. Of 14.00 that is left of it, 31.00 × 14/21.
  const partial = take({ currentPeriod: periodOf({ start: now, paidFrom: lots({ pay: 2100 }) }) }, 700)
  t.like(partial.subscription.currentPeriod, { paidFrom: lots({ pay: 1400 }), creditableMinor: 2067 })
  t.deepEqual(partial.took, took({ paidMinor: 700, worthMinor: 1033 }))
  const over = take({ ...ended, creditMinor: 300, creditFrom: lots({ pay: 300 }) }, 1000)
  t.like(over.subscription, { creditMinor: 0, currentPeriod: { paidFrom: lots({ pay: 3100 }), creditableMinor: 3100 } })
  t.deepEqual(over.took, took({ creditMinor: 300 }), 'the period of one that has ended is over')
})

test('money comes off the credit that came with it, and credit whose origin is not known only where that is allowed', (t) => {
  const elsewhere = { currentPeriod: periodOf({ paidFrom: lots({ other: 3100 }) }) }
  const rich = { ...elsewhere, creditMinor: 600, creditRefundedMinor: 7, creditFrom: lots({ pay: 300, old: 200 }) }
  for (const [wanted, untold, gone, left] of [
    [1000, false, 300, { old: 200 }],
    [1000, true, 400, { old: 200 }],
    [120, false, 120, { pay: 180, old: 200 }],
    [300, false, 300, { old: 200 }],
  ] as const) {
    const { subscription, took: taken } = take(rich, wanted, 'pay', untold)
    t.like(subscription, { creditMinor: 600 - gone, creditRefundedMinor: 7 + gone, creditFrom: lots(left), currentPeriod: elsewhere.currentPeriod })
    t.deepEqual(taken, took({ creditMinor: gone }))
    t.false('creditMovedTo' in subscription)
  }
  const renewal = billOf({ creditMinor: 9, creditFrom: lots({ old: 9 }) })
  t.is(take({ ...rich, bills: [renewal] }, 120).subscription.bills[0], renewal, "a renewal that uses none of the payment's money")
  t.is(take({ ...elsewhere, creditMinor: 600 }, 1000, 'pay', true).took.creditMinor, 600)
  t.is(take({ ...elsewhere, creditMinor: 600 }, 1000).took.creditMinor, 0)
  const { paidFrom: _, ...bare } = periodOf({})
  t.deepEqual(take({ ...rich, currentPeriod: bare }, 1000).subscription.currentPeriod, bare)
})

test('money comes off the credit that an open renewal uses: it does not return, and the period is worth less', (t) => {
  const bill = (change: Partial<Bill> = {}) => billOf({ amountMinor: 2600, creditMinor: 500, creditFrom: lots({ pay: 500 }), ...change })
  const elsewhere = { currentPeriod: periodOf({ paidFrom: [] }) }
  const { subscription, took: taken } = take({ ...elsewhere, bills: [bill()] }, 300)
  // 26.00 and 2.00 of the 31.00 are there.
  t.deepEqual(subscription.bills, [bill({ creditFrom: lots({ pay: 200 }), creditGoneMinor: 300, creditableMinor: 2800 })])
  t.deepEqual(taken, took({ creditMinor: 300 }))
  t.is(subscription.creditRefundedMinor, 0, 'it was taken from no credit')
  const twice = takeLots(subscription, 'pay', 300, false)
  t.deepEqual(twice.subscription.bills, [bill({ creditFrom: [], creditGoneMinor: 500, creditableMinor: 2600 })])
  t.deepEqual(twice.took, took({ creditMinor: 200 }))
  const others = [bill({ status: 'dropped' }), bill({ status: 'settled', paymentId: 'pay3' }), bill({ creditFrom: lots({ old: 500 }), paymentId: 'pay4' })]
  const before = subscriptionOf({ ...elsewhere, bills: others })
  t.deepEqual(takeLots(before, 'pay', 300, false), { subscription: before, took: took() })
  const worthless = take({ ...elsewhere, bills: [bill({ amountMinor: 0, creditableMinor: 0 })] }, 500)
  t.like(worthless.subscription.bills, [{ creditableMinor: 0, creditGoneMinor: 500 }])
})

const move = (subscriptionId: string, amounts: Record<string, number>, recalledMinor = 0) => ({
  subscriptionId,
  amountMinor: 400,
  creditFrom: lots(amounts),
  recalledMinor,
  at: start,
})

test('money that another subscription has taken over is recalled from there', (t) => {
  const creditMovedTo = [move('x', { old: 400 }), move('y', { old: 300, pay: 100 }, 5), move('z', { pay: 400 })]
  const { subscription, took: taken } = take({ ...ended, creditMovedTo }, 350)
  t.deepEqual(subscription.creditMovedTo, [creditMovedTo[0], move('y', { old: 300 }, 105), move('z', { pay: 150 }, 250)] as never)
  t.deepEqual(taken, took({ movedMinor: 350 }))
  const before = subscriptionOf({ ...ended, creditMovedTo: [move('x', { old: 400 })] })
  t.deepEqual(takeLots(before, 'pay', 350, false), { subscription: before, took: took() })
})

test('the period comes first, then the credit of renewals, then the credit, then what was taken over', (t) => {
  const of = {
    currentPeriod: periodOf({ paidFrom: lots({ pay: 100, other: 3000 }) }),
    bills: [billOf({ amountMinor: 2900, creditMinor: 200, creditFrom: lots({ pay: 200 }) })],
    creditMinor: 300,
    creditFrom: lots({ pay: 300 }),
    creditMovedTo: [move('x', { pay: 600 })],
  }
  for (const [wanted, paidMinor, creditMinor, movedMinor] of [
    [60, 60, 0, 0],
    [100, 100, 0, 0],
    [200, 100, 100, 0],
    [250, 100, 150, 0],
    [450, 100, 350, 0],
    [850, 100, 500, 250],
    [1200, 100, 500, 600],
    [5000, 100, 500, 600],
  ] as const) {
    const { subscription, took: taken } = take(of, wanted)
    t.deepEqual(taken, took({ paidMinor, worthMinor: paidMinor, creditMinor, movedMinor }), String(wanted))
    const { currentPeriod, bills, creditFrom, creditMovedTo } = subscription
    const left = [currentPeriod.paidFrom, bills[0]?.creditFrom, creditFrom, creditMovedTo?.[0]?.creditFrom].map((lot) => ofPayment(lot, 'pay'))
    const ofCredit = Math.min(200, creditMinor)
    t.deepEqual(left, [100 - paidMinor, 200 - ofCredit, 300 - (creditMinor - ofCredit), 600 - movedMinor], String(wanted))
  }
  const { subscription } = take(of, 450)
  t.like(subscription, { creditMinor: 150, creditRefundedMinor: 150, bills: [{ creditGoneMinor: 200 }], creditMovedTo: [{ recalledMinor: 0 }] })
})

test('a change that waits is dropped when money of its subscription goes, and only then', (t) => {
  const of = {
    currentPeriod: periodOf({ paidFrom: [] }),
    creditMinor: 0,
    bills: [billOf({ reason: 'change', creditMinor: 500, creditFrom: lots({ pay: 500 }) }), billOf({ paymentId: 'pay3' })],
  }
  const { subscription, took: taken } = take(of, 400)
  t.like(subscription, { creditMinor: 100, creditFrom: lots({ pay: 100 }), creditRefundedMinor: 400 })
  t.deepEqual(
    subscription.bills.map(({ status }) => status),
    ['dropped', 'open'],
  )
  t.deepEqual(taken, took({ creditMinor: 400 }))
  const before = subscriptionOf(of)
  const none = takeLots(before, 'old', 400, false)
  t.is(none.subscription, before)
  t.deepEqual(none.took, took())
})

test('returned money goes back where it was taken from: to the period only while that runs', (t) => {
  const gone = took({ paidMinor: 1000, worthMinor: 900, creditMinor: 50 })
  const less = {
    creditMinor: 5,
    creditFrom: lots({ old: 5 }),
    creditRefundedMinor: 70,
    currentPeriod: periodOf({ creditableMinor: 2200, paidFrom: lots({ pay: 2100 }) }),
  }
  const back = giveLots(subscriptionOf(less), 'pay', gone)
  t.like(back, { creditMinor: 55, creditFrom: lots({ old: 5, pay: 50 }), creditRefundedMinor: 20 })
  t.deepEqual(back.currentPeriod, periodOf({ creditableMinor: 3100, paidFrom: lots({ pay: 3100 }) }))
  t.false('creditMovedTo' in back)
  for (const [change, period] of [
    [ended, 0],
    [{}, 1],
  ] as const) {
    const later = giveLots(subscriptionOf({ ...less, ...change }), 'pay', { ...gone, period })
    t.like(later, { creditMinor: 55, creditRefundedMinor: 20 })
    t.deepEqual(later.currentPeriod, less.currentPeriod)
  }
  // What was taken off the credit of a renewal returns as credit, and the renewal is worth as much less as before.
  const renewal = billOf({ amountMinor: 2600, creditMinor: 500, creditFrom: lots({ pay: 500 }) })
  const used = takeLots(subscriptionOf({ currentPeriod: periodOf({ paidFrom: [] }), bills: [renewal] }), 'pay', 300, false)
  const bounced = giveLots(used.subscription, 'pay', used.took)
  t.like(bounced, { creditMinor: 300, creditFrom: lots({ pay: 300 }), bills: [{ creditableMinor: 2800, creditGoneMinor: 300 }] })
  const { paidFrom: _, ...bare } = periodOf({})
  t.false('paidFrom' in giveLots(subscriptionOf({ currentPeriod: bare }), 'pay', took({ creditMinor: 50 })).currentPeriod)
})

test('money that comes back is no longer recalled from other subscriptions', (t) => {
  const creditMovedTo = [move('x', { old: 400 }), move('y', { old: 300 }, 100), move('z', { pay: 150 }, 250)]
  const back = giveLots(subscriptionOf({ ...ended, creditMovedTo }), 'pay', took({ movedMinor: 300 }))
  t.deepEqual(back.creditMovedTo, [creditMovedTo[0], move('y', { old: 300, pay: 100 }), move('z', { pay: 350 }, 50)] as never)
  t.is(back.creditMinor, 0)
})

test('a refund of a period that was left early is remembered as the credit that it would have become', (t) => {
  t.is(remembersAsCredit(subscriptionOf(), now), undefined)
  const moneyBack = [
    { id: 'one', ...took({ paidMinor: 1000, worthMinor: 1000, creditMinor: 3 }) },
    { id: 'two', ...took({ paidMinor: 500, worthMinor: 1000, movedMinor: 4 }) },
    { id: 'three', ...took({ period: 1, paidMinor: 1000, worthMinor: 1000 }) },
    { id: 'four', ...took({ paidMinor: 10, creditMinor: 8 }) },
  ]
  // 10.00 × 21/31 is 6.774; and no more than was paid.
  t.deepEqual(remembersAsCredit(subscriptionOf({ moneyBack }), now), [
    { id: 'one', ...took({ creditMinor: 680 }) },
    { id: 'two', ...took({ creditMinor: 500, movedMinor: 4 }) },
    must(moneyBack[2]),
    must(moneyBack[3]),
  ])
})
