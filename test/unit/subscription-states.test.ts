/** What belongs to a state of a subscription, and where a state may go. */
import { readFileSync } from 'node:fs'
import test from 'ava'
import { defined } from '../../common/defined.ts'
import { illegalTransitions } from '../../control-plane/illegal-transitions.ts'
import type { Subscription } from '../../control-plane/schemas/subscription.ts'
import { codecFor } from '../../control-plane/storage/documents.ts'
import { become, withRetryAt } from '../../control-plane/subscriptions/machine/state.ts'
import { isFinal, livingStatuses, transitions } from '../../control-plane/subscriptions/machine/transitions.ts'
import { failOnIllegal } from '../support/illegal-transitions.ts'

const [earlier, updatedAt, later] = [new Date('2024-03-01T00:00:00Z'), new Date('2024-03-15T00:00:00Z'), new Date('2024-03-20T00:00:00Z')]
const billing = { graceHours: 72, firstPaymentHours: 23 }
const read = (stored: object): Record<string, unknown> => ({ ...(codecFor('subscriptions').fromStored({ id: 's', updatedAt, billing, ...stored }) as object) })
const subscription = (stored: object) => read(stored) as unknown as Subscription

test('the documentation says where each state may go, and by what', (t) => {
  const rows = Object.entries(transitions).flatMap(([from, ways]) => Object.entries(ways).map(([to, when]) => `| ${from} | ${to} | ${when} |`))
  t.true(readFileSync('docs/billing.md', 'utf8').includes(`| from | to | when |\n| --- | --- | --- |\n${rows.join('\n')}\n`))
})

test('a subscription that is over goes nowhere, and every other can be canceled', (t) => {
  for (const [from, ways] of Object.entries(transitions)) t.is(isFinal(from as keyof typeof transitions), !('canceled' in ways), from)
  t.deepEqual(livingStatuses.toSorted(), ['active', 'incomplete', 'past_due', 'paused', 'scheduled', 'suspended', 'trialing'])
})

test('a change of state keeps the fields of a newer version', (t) => {
  const { fromStored } = codecFor('subscriptions')
  const read = fromStored({ status: 'paused', pausedAt: earlier, pauseReason: 'asked', updatedAt, billing, ofNewer: { tide: 'high' } }) as Subscription
  const [symbol] = Object.getOwnPropertySymbols(become(defined(read) as Subscription, { status: 'active' }))
  t.deepEqual((become(read, { status: 'active' }) as unknown as Record<symbol, unknown>)[symbol as symbol], { ofNewer: { tide: 'high' } })
})

test('a state keeps nothing of the one before, and everything that is common', (t) => {
  const paused = subscription({ status: 'paused', pausedAt: earlier, pauseReason: 'asked', resumeAt: later, creditMinor: 5 })
  t.deepEqual(become(paused, { status: 'active' }), subscription({ status: 'active', creditMinor: 5 }))
  const suspended = become(subscription({ status: 'past_due', graceUntil: later, retryAt: later }), { status: 'suspended', suspendedAt: later })
  t.deepEqual(suspended, subscription({ status: 'suspended', suspendedAt: later }))
})

test('only a subscription that waits for a payment is tried again', (t) => {
  t.is(withRetryAt(subscription({ status: 'active' }), later).retryAt, later)
  t.false('retryAt' in withRetryAt(subscription({ status: 'suspended', suspendedAt: earlier, retryAt: later }), undefined))
  t.throws(() => withRetryAt(subscription({ status: 'paused' }), later), { message: /is paused/ })
})

test.serial('a transition that is in no table is reported, and made', (t) => {
  const told: unknown[] = []
  const note = (transition: unknown) => told.push(transition)
  illegalTransitions.unsubscribe(failOnIllegal)
  illegalTransitions.subscribe(note)
  t.teardown(() => {
    illegalTransitions.unsubscribe(note)
    illegalTransitions.subscribe(failOnIllegal)
  })
  t.is(become(subscription({ status: 'active' }), { status: 'past_due', graceUntil: later }).status, 'past_due')
  t.deepEqual(told, [])
  t.is(become(subscription({ status: 'canceled', endedAt: earlier, endReason: 'unpaid' }), { status: 'active' }).status, 'active')
  t.deepEqual(told, [{ id: 's', from: 'canceled', to: 'active' }])
})

test('an older document takes the times that its state lacks from its last write, and loses the fields that are not of its state', (t) => {
  const common = { id: 's', updatedAt, billing }
  const hours = (n: number) => new Date(updatedAt.getTime() + n * 3_600_000)
  t.deepEqual(read({ status: 'incomplete' }), { ...common, status: 'incomplete', payBy: hours(23) })
  t.deepEqual(read({ status: 'past_due', retryAt: later }), { ...common, status: 'past_due', graceUntil: hours(72), retryAt: later })
  t.deepEqual(read({ status: 'suspended' }), { ...common, status: 'suspended', suspendedAt: updatedAt })
  t.deepEqual(read({ status: 'paused' }), { ...common, status: 'paused', pausedAt: updatedAt, pauseReason: 'asked' })
  t.deepEqual(read({ status: 'canceled' }), { ...common, status: 'canceled', endedAt: updatedAt, endReason: 'canceled' })
  t.deepEqual(read({ status: 'expired' }), { ...common, status: 'expired', endedAt: updatedAt, endReason: 'canceled' })
  t.deepEqual(read({ status: 'incomplete_expired' }), { ...common, status: 'incomplete_expired', endedAt: updatedAt, endReason: 'payment_not_made' })
  t.deepEqual(read({ status: 'active', retryAt: later, pausedAt: earlier, pauseReason: 'dispute' }), { ...common, status: 'active', retryAt: later })
  const ended = { status: 'canceled', endedAt: later, endReason: 'dispute' }
  t.deepEqual(read({ ...ended, suspendedAt: earlier, retryAt: later, graceUntil: later }), { ...common, ...ended })
})

test('an older document that kept one time without access has it as a pair of dates', (t) => {
  const before = { status: 'active', suspendedAt: earlier, resumedAt: updatedAt }
  const offSpans = [{ from: earlier, to: updatedAt }]
  t.deepEqual(read(before), { id: 's', updatedAt, billing, status: 'active', offSpans })
  t.deepEqual(read({ ...before, offSpans: [{ from: updatedAt, to: later }] }).offSpans, [...offSpans, { from: updatedAt, to: later }])
})
