import test from 'ava'
import { behaviourOf } from '../../psp-simulator/behaviour.ts'

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
