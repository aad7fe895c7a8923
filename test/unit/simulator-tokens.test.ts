import test from 'ava'
import { actsLate, behaviourOf, captureFails, disputeBehaviourOf, refundBehaviourOf } from '../../psp-simulator/behaviour.ts'

test('any token succeeds; one that names an effect has it, at every account or at the one it names', (t) => {
  const cases: [token: string, account: string, kind: ReturnType<typeof behaviourOf>['kind']][] = [
    ['pm_stripe_card_xxx', 'stripe', 'succeed'],
    ['pm_decline_funds', 'stripe', 'decline'],
    ['pm_decline_issuer_soft_at_stripe', 'stripe', 'decline'],
    ['pm_decline_issuer_soft_at_stripe', 'paypal', 'succeed'],
    ['pm_timeout', 'x', 'timeout'],
    ['pm_timeout_at_a', 'b', 'succeed'],
    ['pm_refused_at_local-bank', 'local-bank', 'refused'],
    ['pm_pending', 'x', 'pending'],
    ['sca', 'x', 'sca'],
    ['pm_at_stripe', 'stripe', 'succeed'],
    ['pm_decline_hard_at_stripe_eu', 'stripe_eu', 'decline'],
    ['pm_decline_hard_at_stripe_eu', 'paypal', 'succeed'],
  ]
  for (const [token, account, kind] of cases) t.is(behaviourOf(token, account).kind, kind, `${token} at ${account}`)
  t.deepEqual(behaviourOf('pm_decline_technical', 'x'), { kind: 'decline', declineClass: 'technical' })
})

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

test('later effects have words of their own, which say nothing of the charge', (t) => {
  const later = [
    'pm_refund_pending',
    'pm_refund_pending_3d',
    'pm_refund_bounces_12h',
    'pm_refund_fails',
    'pm_dispute',
    'pm_dispute_lost_3d',
    'pm_capture_fails',
  ]
  for (const token of later) t.deepEqual(behaviourOf(token, 'x'), { kind: 'succeed' }, token)
  t.deepEqual(behaviourOf('pm_refund_pending_3d_pending', 'x'), { kind: 'pending' }, "a refund's delay is not the charge's")
  t.deepEqual(behaviourOf('pm_pending_2d_refund_pending_3d', 'x'), { kind: 'pending', forMs: 2 * DAY_MS })
  t.is(behaviourOf('pm_timeout_refund_pending_dispute_lost', 'x').kind, 'timeout')
  t.is(behaviourOf('pm_decline_funds_dispute', 'x').kind, 'decline')
  t.is(behaviourOf('pm_sca_late', 'x').kind, 'sca')
})

test('refunds wait, fail and come back as the token says; and both, one after the other', (t) => {
  const cases: [token: string, behaviour: ReturnType<typeof refundBehaviourOf>][] = [
    ['pm_card', {}],
    ['pm_pending_3d', {}],
    ['pm_refund_pending', { pendingForMs: 60_000 }],
    ['pm_refund_pending_3d', { pendingForMs: 3 * DAY_MS }],
    ['pm_refund_pending_3days', { pendingForMs: 60_000 }],
    ['pm_refund_fails', { fails: true }],
    ['pm_refund_pending_refund_fails', { fails: true }],
    ['pm_refund_bounces', { bouncesAfterMs: 3 * DAY_MS }],
    ['pm_refund_bounces_12h', { bouncesAfterMs: 12 * HOUR_MS }],
    ['pm_refund_pending_1d_refund_bounces_2h', { pendingForMs: DAY_MS, bouncesAfterMs: 2 * HOUR_MS }],
    ['pm_refund_pending_at_stripe', { pendingForMs: 60_000 }],
    ['pm_refund_pending_at_paypal', {}],
  ]
  for (const [token, behaviour] of cases) t.deepEqual(refundBehaviourOf(token, 'stripe'), behaviour, token)
})

test('a dispute opens a day later, or when the token says, and is decided if it says so', (t) => {
  const cases: [token: string, behaviour: ReturnType<typeof disputeBehaviourOf>][] = [
    ['pm_card', undefined],
    ['pm_refund_pending_3d', undefined],
    ['pm_dispute', { opensAfterMs: DAY_MS }],
    ['pm_dispute_won', { opensAfterMs: DAY_MS, decided: 'won' }],
    ['pm_dispute_lost', { opensAfterMs: DAY_MS, decided: 'lost' }],
    ['pm_dispute_3d', { opensAfterMs: 3 * DAY_MS }],
    ['pm_dispute_lost_12h', { opensAfterMs: 12 * HOUR_MS, decided: 'lost' }],
    ['pm_dispute_12h_lost', { opensAfterMs: 12 * HOUR_MS, decided: 'lost' }],
    ['pm_refund_pending_3d_dispute_lost', { opensAfterMs: DAY_MS, decided: 'lost' }],
    ['pm_dispute_won_at_stripe', { opensAfterMs: DAY_MS, decided: 'won' }],
    ['pm_dispute_won_at_paypal', undefined],
  ]
  for (const [token, behaviour] of cases) t.deepEqual(disputeBehaviourOf(token, 'stripe'), behaviour, token)
})

test('an issuer that wants its customer asks for them if they are there, and declines if they are not', (t) => {
  t.deepEqual(behaviourOf('pm_decline_action_required', 'x'), { kind: 'decline', declineClass: 'action_required' })
  t.is(behaviourOf('pm_decline_action_required', 'x', true).kind, 'sca')
  t.is(behaviourOf('pm_decline_funds', 'x', true).kind, 'decline')
  t.is(behaviourOf('pm_card', 'x', true).kind, 'succeed')
  for (const present of [true, false]) t.is(behaviourOf('pm_sca', 'x', present).kind, 'sca')
  t.deepEqual([actsLate('pm_sca_late', 'x'), actsLate('pm_sca', 'x'), actsLate('pm_sca_late_at_y', 'x')], [true, false, false])
  t.deepEqual([captureFails('pm_capture_fails', 'x'), captureFails('pm_card', 'x'), captureFails('pm_capture_fails_at_y', 'x')], [true, false, false])
})
