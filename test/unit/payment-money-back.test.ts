/** Money of a payment that goes back: refunds, disputes, what its subscription makes of both, and settlements. */
import test from 'ava'
import { isDisputed, recordDispute } from '../../control-plane/payments/machine/disputes.ts'
import { moneyFacts, recordSeen } from '../../control-plane/payments/machine/money-facts.ts'
import {
  attemptIdOfRefund,
  dueRefund,
  giveBack,
  isBeyond,
  markAsked,
  recordRefund,
  refundableMinor,
  refundedMinor,
  refundNamed,
  refundReference,
  requestRefund,
} from '../../control-plane/payments/machine/refunds.ts'
import { isSettled, recordSettlement } from '../../control-plane/payments/machine/settlements.ts'
import type { DisputeFacts, RefundOutcome } from '../../control-plane/payments/psp/psp.ts'
import type { Dispute, Payment, Refund, Settlement } from '../../control-plane/schemas/payment.ts'
import { at, attemptOf, DAY, HOUR, now, paymentOf, repairAt } from '../support/payments.ts'

const refundOf = (change: Partial<Refund> = {}): Refund => ({
  id: 'ref',
  attemptId: 'pay-1',
  amountMinor: 900,
  reason: 'requested',
  status: 'due',
  at: now,
  ...change,
})
const disputeOf = (change: Partial<Dispute> = {}): Dispute => ({
  id: 'dp',
  attemptId: 'pay-1',
  status: 'open',
  amountMinor: 2900,
  currency: 'USD',
  reason: 'fraud',
  openedAt: now,
  changedAt: now,
  ...change,
})
const owed = { id: 'pay-1-refund', reason: 'paid_twice' } as const
const paid = (change: Partial<Payment> = {}) => paymentOf({ status: 'succeeded', attempts: [attemptOf({ status: 'succeeded' })], ...change })
const must = <T>(value: T | undefined): T => {
  if (value === undefined) throw new Error('it changed nothing')
  return value
}

test('a refund is made, or asked about, when its time has come', (t) => {
  const due = (change: Partial<Refund>) => dueRefund(paid({ refunds: [refundOf({ id: 'made', status: 'succeeded' }), refundOf(change)] }), now)?.id
  for (const status of ['due', 'pending'] as const) {
    t.is(due({ status }), 'ref')
    t.is(due({ status, tryAt: now }), 'ref')
    t.is(due({ status, tryAt: at(-1) }), 'ref')
    t.is(due({ status, tryAt: at(1) }), undefined)
  }
  for (const status of ['succeeded', 'failed'] as const) t.is(due({ status }), undefined)
})

test("a refund is of the attempt's amount, or else of the payment's", (t) => {
  const back = (amountMinor: number | undefined) => {
    const { amountMinor: _, ...attempt } = attemptOf()
    return giveBack(paid(), amountMinor === undefined ? attempt : { ...attempt, amountMinor }, 'not_wanted', now).refunds[0]
  }
  t.deepEqual(back(3000), refundOf({ id: 'pay-1-refund', amountMinor: 3000, reason: 'not_wanted' }))
  t.is(back(undefined)?.amountMinor, 2900)
})

test('the refundable amount is of a payment that was made, is wanted and not disputed, less what was requested', (t) => {
  t.is(refundableMinor(paid()), 2900)
  for (const status of ['due', 'pending', 'succeeded'] as const) t.is(refundableMinor(paid({ refunds: [refundOf({ status })] })), 2000, status)
  t.is(refundableMinor(paid({ refunds: [refundOf({ status: 'failed' }), refundOf({ ...owed, amountMinor: 2900 })] })), 2900)
  t.is(refundableMinor(paid({ abandoned: true })), 0)
  for (const status of ['due', 'processing', 'failed', 'canceled'] as const) t.is(refundableMinor(paid({ status })), 0, status)
  t.is(refundableMinor(paid({ disputes: [disputeOf()] })), 0)
})

test('a requested refund is of the attempt whose money was kept', (t) => {
  const attempts = [
    attemptOf({ id: 'pay-1', status: 'succeeded' }),
    attemptOf({ id: 'pay-2', status: 'declined', declineClass: 'funds' }),
    attemptOf({ id: 'pay-3', status: 'succeeded' }),
  ]
  const of = (...refunds: Refund[]) => requestRefund(paid({ attempts, refunds }), 'new', 5, now, repairAt).refunds.at(-1)
  t.deepEqual(of(), refundOf({ id: 'new', amountMinor: 5 }))
  t.is(of(refundOf({ ...owed }))?.attemptId, 'pay-3')
  t.is(of(refundOf())?.attemptId, 'pay-1', 'one that was asked for leaves something of it')
  t.is(requestRefund(paid(), 'new', 5, now, repairAt).repairAt, repairAt)
  t.throws(() => requestRefund(paymentOf(), 'new', 5, now, repairAt), { message: 'payment pay has nothing to give back' })
})

test('references name the attempt, and change with each try', (t) => {
  const named = {
    'pay-1-refund': refundOf({ ...owed }),
    'pay-1-refund.2': refundOf({ ...owed, tries: 2 }),
    'pay-1.ref': refundOf(),
    'pay-1.ref.1': refundOf({ tries: 1 }),
  }
  for (const [reference, refund] of Object.entries(named)) {
    t.is(refundReference(refund), reference)
    t.is(attemptIdOfRefund(reference), 'pay-1')
  }
  t.is(attemptIdOfRefund('pay-refund-1'), 'pay-refund-1')
  t.is(attemptIdOfRefund(''), '')
})

test('a provider may have forgotten a request after as long as it keeps keys', (t) => {
  const beyond = (askedAt: Date | undefined) => isBeyond(askedAt ? { askedAt } : {}, HOUR, now)
  t.is(beyond(undefined), false)
  t.is(beyond(at(-HOUR + 1)), false)
  t.is(beyond(at(-HOUR)), true)
})

test('a request for a refund is noted once, on the one that is due', (t) => {
  const other = refundOf({ id: 'other' })
  const marked = must(markAsked(paid({ refunds: [other, refundOf()] }), 'pay-1.ref', now, repairAt))
  t.deepEqual(marked.refunds, [other, refundOf({ askedAt: now })])
  t.is(markAsked(marked, 'pay-1.ref', at(1), repairAt), undefined)
  t.is(markAsked(marked, 'pay-1.none', at(1), repairAt), undefined)
  for (const status of ['pending', 'succeeded', 'failed'] as const)
    t.is(markAsked(paid({ refunds: [refundOf({ status })] }), 'pay-1.ref', now, repairAt), undefined)
})

test("an event means a refund by our reference, or by the provider's own", (t) => {
  const payment = paid({ refunds: [refundOf({ id: 'plain' }), refundOf({ pspReference: 'r1' })] })
  t.is(refundNamed(payment, 'pay-1.plain', 'r1'), 'pay-1.plain')
  t.is(refundNamed(payment, 'pay-1', 'r1'), 'pay-1.ref')
  t.is(refundNamed(payment, 'pay-1', 'r2'), undefined)
  t.is(refundNamed(payment, 'pay-1', undefined), undefined)
})

const told = {
  succeeded: { status: 'succeeded', pspReference: 'r1' },
  pending: { status: 'pending', pspReference: 'r1' },
  unknown: { status: 'unknown', pspCode: 'timeout' },
  failed: { status: 'failed', pspCode: 'closed' },
} as const satisfies Record<string, RefundOutcome>

test("a refund's next state depends on its state and on the report", (t) => {
  const known = { pspCode: 'old', tryAt: at(1), askedAt: at(-1) }
  const become = (change: Partial<Refund>, outcome: RefundOutcome, by?: 'answer' | 'event') => {
    const other = refundOf({ id: 'other' })
    const next = recordRefund(paid({ refunds: [other, refundOf({ ...known, ...change })] }), refundReference(refundOf(change)), outcome, now, repairAt, by)
    if (next) t.deepEqual(next.refunds[0], other)
    return next?.refunds[1]
  }
  const asked = { askedAt: at(-1) }
  for (const status of ['due', 'pending'] as const) {
    t.deepEqual(become({ status }, told.succeeded), refundOf({ ...asked, status: 'succeeded', pspReference: 'r1' }))
    t.deepEqual(become({ status }, { status: 'succeeded' }), refundOf({ ...asked, status: 'succeeded' }))
    t.deepEqual(become({ status }, told.pending), refundOf({ ...asked, status: 'pending', pspReference: 'r1', tryAt: at(DAY) }))
    t.deepEqual(become({ status }, told.unknown), refundOf({ ...asked, status, pspCode: 'timeout', tryAt: at(HOUR) }))
    t.deepEqual(become({ status }, told.failed), refundOf({ ...asked, status: 'failed', pspCode: 'closed' }))
    const again = { ...owed, status: 'due', pspCode: 'closed', tryAt: at(DAY) } as const
    t.deepEqual(become({ ...owed, status, pspReference: 'r1' }, told.failed), refundOf({ ...again, tries: 1 }))
    t.deepEqual(become({ ...owed, status, tries: 1 }, told.failed), refundOf({ ...again, tries: 2 }))
  }
  // One that was made may come back; one that has failed may turn out made only where a provider is asked.
  for (const outcome of [told.succeeded, told.pending, told.unknown]) t.is(become({ status: 'succeeded' }, outcome), undefined)
  t.is(become({ status: 'succeeded' }, told.failed, 'event')?.status, 'failed')
  for (const outcome of [told.failed, told.pending, told.unknown]) t.is(become({ status: 'failed' }, outcome), undefined)
  t.is(become({ status: 'failed' }, told.succeeded, 'event'), undefined)
  t.is(become({ status: 'failed' }, told.succeeded)?.status, 'succeeded')
  t.is(recordRefund(paid({ refunds: [refundOf()] }), 'pay-1.none', told.succeeded, now, repairAt), undefined)
})

test('a subscription sees a requested refund when it is made, and when it comes back', (t) => {
  const effects = (change: Partial<Refund>, outcome: RefundOutcome, of: Partial<Payment> = {}) =>
    must(recordRefund(paid({ refunds: [refundOf(change)], ...of }), refundReference(refundOf(change)), outcome, now, repairAt)).effectsDue
  t.true(effects({}, told.succeeded))
  t.true(effects({ status: 'succeeded' }, told.failed))
  t.false(effects({}, told.pending))
  t.false(effects({}, told.failed))
  t.false(effects({ status: 'pending' }, told.unknown))
  t.false(effects({ ...owed }, told.succeeded))
  t.true(effects({ ...owed }, told.succeeded, { effectsDue: true }))
  const { subscriptionId: _, ...oneTime } = paid({ refunds: [refundOf()] })
  t.false(must(recordRefund(oneTime, 'pay-1.ref', told.succeeded, now, repairAt)).effectsDue)
})

test('the amount that went back is the one that was refunded in fact', (t) => {
  const refunds = (['succeeded', 'pending', 'due', 'failed', 'succeeded'] as const).map((status, n) => refundOf({ id: `r${n}`, status, amountMinor: 10 + n }))
  t.is(refundedMinor(paid({ refunds })), 24)
})

test('the money of a payment is disputed while a bank has it, unless it was the second payment, which goes back anyway', (t) => {
  const disputed = (status: Dispute['status'], ...refunds: Refund[]) => isDisputed({ disputes: [disputeOf({ status })], refunds })
  t.true(disputed('open'))
  t.true(disputed('lost'))
  t.false(disputed('won'))
  t.false(isDisputed({ refunds: [] }))
  t.true(disputed('open', refundOf()), 'a refund that was asked for')
  t.false(disputed('open', refundOf({ ...owed })))
  t.true(disputed('open', refundOf({ ...owed, attemptId: 'pay-2' })), 'of another attempt')
})

test('a dispute is opened, decided once, and decided otherwise only by later news', (t) => {
  const facts = (status: DisputeFacts['status'], amountMinor = 2900): DisputeFacts => ({ id: 'dp', status, amountMinor, currency: 'USD', reason: 'fraud' })
  const other = disputeOf({ id: 'other' })
  const note = (known: Partial<Dispute> | undefined, status: DisputeFacts['status'], ms: number) =>
    recordDispute(paid({ disputes: known ? [other, disputeOf(known)] : [other] }), 'pay-1', facts(status, 7), at(ms), repairAt)?.disputes
  t.deepEqual(note(undefined, 'open', 5), [other, disputeOf({ amountMinor: 7, openedAt: at(5), changedAt: at(5) })])
  for (const status of ['won', 'lost'] as const) {
    t.deepEqual(note({}, status, 5), [other, disputeOf({ status, amountMinor: 7, changedAt: at(5) })])
    t.truthy(note({ changedAt: at(9) }, status, 5), 'an open one is decided whatever the order')
    t.is(note({ status }, status, 5), undefined)
    t.is(note({ status }, 'open', 5), undefined)
    const otherwise = status === 'won' ? 'lost' : 'won'
    t.truthy(note({ status }, otherwise, 0))
    t.is(note({ status }, otherwise, -1), undefined)
  }
  t.is(note({}, 'open', 5), undefined)
  t.deepEqual(recordDispute(paid(), 'pay-1', facts('open'), now, repairAt)?.disputes, [disputeOf()])
})

test('no more than twenty disputes are kept, and known ones go on', (t) => {
  const disputes = Array.from({ length: 20 }, (_, n) => disputeOf({ id: `dp${n}` }))
  const facts: DisputeFacts = { id: 'dp', status: 'open', amountMinor: 1, currency: 'USD', reason: 'fraud' }
  t.is(recordDispute(paid({ disputes }), 'pay-1', facts, now, repairAt), undefined)
  t.is(recordDispute(paid({ disputes: disputes.slice(1) }), 'pay-1', facts, now, repairAt)?.disputes?.length, 20)
  t.is(recordDispute(paid({ disputes }), 'pay-1', { ...facts, id: 'dp3', status: 'won' }, now, repairAt)?.disputes?.length, 20)
})

test('money that a bank has taken back is not owed any more, and the subscription is told', (t) => {
  const facts = (status: DisputeFacts['status']): DisputeFacts => ({ id: 'dp', status, amountMinor: 2900, currency: 'USD', reason: 'fraud' })
  const refunds = [refundOf({ ...owed }), refundOf({ id: 'elsewhere', attemptId: 'pay-2' }), refundOf({ id: 'made', status: 'succeeded' })]
  const lost = must(recordDispute(paid({ refunds }), 'pay-1', facts('lost'), now, repairAt))
  t.deepEqual(lost.refunds, [refundOf({ ...owed, status: 'failed', pspCode: 'charged_back' }), ...refunds.slice(1)])
  t.true(lost.effectsDue)
  t.deepEqual(must(recordDispute(paid({ refunds }), 'pay-1', facts('open'), now, repairAt)).refunds, refunds)
  const { subscriptionId: _, ...oneTime } = paid()
  t.false(must(recordDispute(oneTime, 'pay-1', facts('lost'), now, repairAt)).effectsDue)
  t.true(must(recordDispute({ ...oneTime, effectsDue: true }, 'pay-1', facts('lost'), now, repairAt)).effectsDue)
})

test('the facts about money are requested refunds, and disputes of the kept payment, as far as something is left', (t) => {
  const counted = { period: 1, paidMinor: 1, worthMinor: 1, creditMinor: 0, movedMinor: 0 }
  const facts = (disputes: Dispute[], ...refunds: Refund[]) => moneyFacts(paid({ disputes, refunds }))
  t.deepEqual(moneyFacts(paid()), [])
  t.deepEqual(facts([], refundOf({ status: 'succeeded', counted }), refundOf({ id: 'two' }), refundOf({ ...owed, status: 'succeeded' })), [
    { id: 'ref', kind: 'refund', isGone: true, amountMinor: 900, counted, at: now },
    { id: 'two', kind: 'refund', isGone: false, amountMinor: 900, counted: undefined, at: now },
  ])
  const lost = { id: 'dispute:dp', kind: 'dispute', isGone: true, counted, at: now }
  const disputed = (change: Partial<Dispute>, ...refunds: Refund[]) =>
    facts([disputeOf({ status: 'lost', counted, openedAt: now, changedAt: at(9), ...change })], ...refunds).at(-1)
  t.deepEqual(disputed({}), { ...lost, amountMinor: 2900 } as never)
  t.like(disputed({ status: 'open' }), { isGone: false })
  t.like(disputed({ status: 'won' }), { isGone: false })
  t.like(disputed({ amountMinor: 100 }), { amountMinor: 100 })
  t.like(disputed({}, refundOf({ status: 'succeeded' })), { amountMinor: 2000 })
  t.like(disputed({}, refundOf({ status: 'succeeded' }), refundOf({ id: 'two', status: 'succeeded' })), { amountMinor: 1100 })
  t.like(disputed({}, refundOf({ status: 'due' })), { amountMinor: 2900 })
  t.like(disputed({ currency: 'EUR', amountMinor: 1 }), { amountMinor: 2900 })
  t.like(disputed({}, refundOf({ status: 'succeeded', amountMinor: 5000 })), { amountMinor: 0 })
  t.is(disputed({}, refundOf({ ...owed })), undefined, 'the second payment')
  t.like(disputed({}, refundOf({ ...owed, attemptId: 'pay-2' })), { amountMinor: 2900 })
})

test('a payment marks the facts that its subscription has accounted for, and only while the money is gone', (t) => {
  const counted = { period: 1, paidMinor: 900, worthMinor: 900, creditMinor: 0, movedMinor: 0 }
  const refunds = [refundOf({ status: 'succeeded' }), refundOf({ id: 'two', status: 'succeeded' })]
  const disputes = [disputeOf({ status: 'lost' }), disputeOf({ id: 'open' })]
  const seen = must(
    recordSeen(paid({ refunds, disputes, repairAt }), [
      { id: 'ref', ...counted },
      { id: 'dispute:dp', ...counted, worthMinor: 5 },
      { id: 'dispute:open', ...counted },
    ]),
  )
  t.deepEqual(seen.refunds, [refundOf({ status: 'succeeded', counted }), refundOf({ id: 'two', status: 'succeeded' })])
  t.deepEqual(seen.disputes, [disputeOf({ status: 'lost', counted: { ...counted, worthMinor: 5 } }), disputeOf({ id: 'open' })])
  t.is(recordSeen(seen), undefined, 'its marks stay when the subscription has forgotten them')
  t.is(recordSeen(seen, [{ id: 'ref', ...counted }]), undefined)
  const back = must(recordSeen({ ...seen, refunds: [refundOf({ status: 'failed', counted })] }))
  t.deepEqual(back.refunds, [refundOf({ status: 'failed' })])
  t.is(recordSeen(paid({ refunds })), undefined)
  const told = must(recordSeen(paid({ refunds, effectsDue: true, repairAt })))
  t.like(told, { effectsDue: false, refunds, repairAt: undefined })
  t.false('disputes' in told)
})

test('a line of a settlement report is kept once, and no more than three hundred are', (t) => {
  const line = (id: string, kind: Settlement['kind'] = 'charge'): Settlement => ({
    id,
    kind,
    reference: 'ch',
    grossMinor: 1,
    feeMinor: 0,
    netMinor: 1,
    currency: 'USD',
  })
  const first = must(recordSettlement(paid(), line('r/1', 'fee')))
  t.deepEqual(first.settlements, [line('r/1', 'fee')])
  t.is(recordSettlement(first, line('r/1')), undefined)
  const both = must(recordSettlement(first, line('r/2')))
  t.deepEqual(both.settlements, [line('r/1', 'fee'), line('r/2')])
  t.is(recordSettlement(both, line('r/1')), undefined)
  const settlements = Array.from({ length: 300 }, (_, n) => line(`r/${n}`))
  t.is(recordSettlement(paid({ settlements }), line('more')), undefined)
  t.is(recordSettlement(paid({ settlements: settlements.slice(1) }), line('more'))?.settlements?.length, 300)
  t.false(isSettled(paid()))
  t.false(isSettled(first))
  t.true(isSettled(both))
})
