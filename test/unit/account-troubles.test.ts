/** The troubles of a PSP account that are news, by what its charges meet. */
import test from 'ava'
import { DAY_MS } from '../../common/durations.ts'
import { withTroubles } from '../../control-plane/payments/account-troubles.ts'
import type { ChargeOutcome } from '../../control-plane/payments/psp/psp.ts'
import type { PspAccount } from '../../control-plane/schemas/psp-account.ts'
import { must } from '../support/subscriptions.ts'

const start = Date.UTC(2030, 0, 1)
const at = (ms: number) => new Date(start + ms)
const account = { id: 'stripe', provider: 'stripe' } as PspAccount
const lost: ChargeOutcome = { status: 'not_sent', pspCode: 'econnrefused' }
const refused: ChargeOutcome = { status: 'declined', declineClass: 'config', pspCode: 'http_401', credentialsRefused: true }
const paid: ChargeOutcome = { status: 'succeeded', pspReference: 'ch' }

const meets = (before: PspAccount, outcome: ChargeOutcome, ms: number, openUntil?: Date) => withTroubles(before, { outcome, openUntil, now: at(ms) })

test('an open circuit is news once, until it opens again', (t) => {
  const opened = must(meets(account, lost, 0, at(30)))
  t.deepEqual(opened.troubles, [{ kind: 'circuit_open', why: 'calls to the provider kept failing, the last with econnrefused', at: at(0), until: at(30) }])
  t.is(meets(opened, lost, 29, at(50)), undefined, 'another control plane opens its own')
  t.like(must(meets(opened, lost, 30, at(60))).troubles?.[0], { at: at(30), until: at(60) })
  t.is(meets(account, lost, 0), undefined)
  t.is(meets(account, lost, 30, at(30)), undefined)
  t.is(meets(account, paid, 0), undefined)
})

test('credentials that are refused are news once, and again a day later if they were taken meanwhile', (t) => {
  const failed = must(meets(account, refused, 0))
  t.deepEqual(failed.troubles, [{ kind: 'credentials_failed', why: 'the provider refused them with http_401', at: at(0) }])
  t.is(meets(failed, refused, 2 * DAY_MS), undefined)
  for (const silent of [lost, { status: 'unknown', pspCode: 'timeout' }, { status: 'declined', declineClass: 'config', pspCode: 'x' }] as const) {
    t.is(meets(failed, silent, 1), undefined, silent.status)
  }
  const taken = must(meets(failed, { status: 'declined', declineClass: 'funds', pspCode: 'x' }, 1))
  t.like(taken.troubles?.[0], { at: at(0), until: at(1) })
  t.is(meets(taken, paid, 2), undefined)
  t.is(meets(taken, refused, DAY_MS - 1), undefined)
  t.like(must(meets(taken, refused, DAY_MS)), { troubles: [{ kind: 'credentials_failed', at: at(DAY_MS) }] })
})

test('troubles of both kinds are kept side by side', (t) => {
  const both = must(meets(must(meets(account, refused, 0)), lost, 1, at(30)))
  t.deepEqual(
    both.troubles?.map(({ kind }) => kind),
    ['circuit_open', 'credentials_failed'],
  )
})
