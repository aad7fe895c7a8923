/**
 * The states of an attempt: where each may go, and by what. docs/payments.md has the same table, which a test compares with
 * this one. Which of them hold the payment is said by `isOpen`.
 */
import type { Transitions } from '../../illegal-transitions.ts'
import type { AttemptStatus } from '../../schemas/payment.ts'

/** Whatever is open may come to each of these, in any order: events arrive late. */
const outcomes = {
  requires_action: 'the customer has to act',
  pending: 'the provider has it, and says more later',
  authorized: 'the money is held, and not taken yet',
  succeeded: 'the money is taken',
  declined: 'somebody refuses it, the customer does not act, or an operator says so',
  not_sent: 'it provably never left, never arrived, or an operator says so',
} as const

/** Money that moved has moved. */
const late = { succeeded: 'its money arrives all the same' } as const

export const attemptTransitions = {
  /** Never made by this version; documents of before may have it. */
  created: outcomes,
  sent: { ...outcomes, unknown: 'no answer, or one that says nothing' },
  unknown: { ...outcomes, sent: 'it is sent again, under its own key' },
  requires_action: outcomes,
  pending: outcomes,
  authorized: outcomes,
  declined: late,
  not_sent: late,
  succeeded: {},
} as const satisfies Transitions<AttemptStatus>
