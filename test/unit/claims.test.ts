/** What a customer's subscriptions may be of, from those that are stored and those that are about to be. */
import test from 'ava'
import { decideClaim, standing } from '../../control-plane/customers/claim.ts'
import type { Claim } from '../../control-plane/customers/fresh-claims.ts'
import { type Subscription, subscriptionStatuses } from '../../control-plane/schemas/subscription.ts'
import { isFinal, livingStatuses } from '../../control-plane/subscriptions/machine/transitions.ts'

const now = new Date('2024-03-15T00:00:00Z')
const minutes = (n: number) => new Date(now.getTime() - n * 60_000)
const claim = (change: Partial<Claim> = {}): Claim => ({ subscriptionId: 'first', bundleId: 'pro', trial: false, at: now, ...change })
const stored = (change: Partial<Subscription> = {}) =>
  ({ id: 'first', bundleId: 'pro', status: 'active', bills: [], recentCommands: [], ...change }) as unknown as Subscription
const once = { subscriptionId: 'second', bundleId: 'pro', onePerCustomer: true }
const trial = { subscriptionId: 'second', bundleId: 'pro', onePerCustomer: false, trialOncePer: 'bundle' } as const

test('a claim counts for ten minutes, or until its subscription says the same', (t) => {
  const counts = (one: Claim, ...subscriptions: Subscription[]) => standing([one], subscriptions, now).length === 1
  t.true(counts(claim({ at: minutes(9) })))
  t.false(counts(claim({ at: minutes(10) })))
  t.false(counts(claim(), stored()))
  t.true(counts(claim({ bundleId: 'team', commandId: 'c1' }), stored()), 'the subscription is still to be changed to it')
  t.false(counts(claim({ bundleId: 'team', commandId: 'c1' }), stored({ recentCommands: ['c1'] })), 'it was, whatever it is by now')
  t.true(counts(claim({ paymentMethodId: 'new', commandId: 'c2' }), stored({ recentCommands: ['c1'] })), 'it is still to be given the method')
  t.false(counts(claim({ bundleId: 'team' }), stored({ status: 'canceled' })), 'what is over is changed no more')
})

test('one per bundle: a claim or a subscription that is not over forbids another, and never itself', (t) => {
  const refuses = (claims: Claim[], subscriptions: Subscription[]) => t.throws(() => decideClaim(once, claims, subscriptions), { message: /first/ })
  refuses([claim()], [])
  for (const status of livingStatuses) refuses([], [stored({ status })])
  for (const status of subscriptionStatuses.filter(isFinal)) t.notThrows(() => decideClaim(once, [], [stored({ status })]))
  t.notThrows(() => decideClaim(once, [claim({ subscriptionId: 'second' })], [stored({ id: 'second' })]))
  t.notThrows(() => decideClaim({ ...once, bundleId: 'team' }, [claim()], [stored()]))
  t.notThrows(() => decideClaim({ ...once, onePerCustomer: false }, [claim()], [stored()]))
})

test('one trial: begun, scheduled and claimed trials use it up; one that never began does not', (t) => {
  const [begun, end] = [minutes(60), new Date(now.getTime() + 3_600_000)]
  const had = stored({ status: 'canceled', accessFrom: begun, trialEnd: end })
  t.true(decideClaim(trial, [], []))
  t.false(decideClaim(trial, [], [had]))
  t.false(decideClaim(trial, [claim({ trial: true })], []))
  t.true(decideClaim(trial, [claim()], []), 'one that begins with its payment')
  t.false(decideClaim(trial, [], [stored({ status: 'scheduled', trialEnd: end })]))
  t.true(decideClaim(trial, [], [stored({ status: 'canceled', trialEnd: end })]), 'canceled before it began')
  t.true(decideClaim(trial, [], [stored({ accessFrom: now, trialEnd: begun })]), 'made with a start in the past: its trial was over')
  t.false(decideClaim(trial, [], [stored({ ...had, bundleId: 'team', trialBundleId: 'pro' })]))
  t.true(decideClaim(trial, [], [stored({ ...had, bundleId: 'pro', trialBundleId: 'team' })]))
  t.true(decideClaim(trial, [], [stored({ ...had, bundleId: 'team' })]))
  t.false(decideClaim({ ...trial, trialOncePer: 'customer' }, [], [stored({ ...had, bundleId: 'team' })]))
  t.true(decideClaim({ ...trial, trialOncePer: 'none' }, [claim({ trial: true })], [had]))
  t.false(decideClaim({ ...trial, trialOncePer: undefined }, [], []), 'no trial is offered')
})
