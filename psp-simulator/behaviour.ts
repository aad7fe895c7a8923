/**
 * What a payment method token makes the simulator do. Any token succeeds; one that contains one of these words does
 * that, and `at_<account>` limits the effect to one account: `pm_decline_issuer_soft_at_stripe`.
 */
const declineClasses = ['technical', 'issuer_soft', 'funds', 'action_required', 'credential', 'hard', 'config'] as const
type DeclineClass = (typeof declineClasses)[number]

export type Behaviour =
  | { kind: 'succeed' }
  | { kind: 'decline'; declineClass: DeclineClass }
  /** The charge is made and no answer is given. */
  | { kind: 'timeout' }
  /** The connection is refused and nothing happens. */
  | { kind: 'refused' }
  /** The answer is "not yet"; it succeeds a moment later, by webhook. */
  | { kind: 'pending' }
  /** The customer has to act first. */
  | { kind: 'sca' }

const effects: [word: string, behaviour: Behaviour][] = [
  ...declineClasses.map((declineClass): [string, Behaviour] => [`decline_${declineClass}`, { kind: 'decline', declineClass }]),
  ['timeout', { kind: 'timeout' }],
  ['refused', { kind: 'refused' }],
  ['pending', { kind: 'pending' }],
  ['sca', { kind: 'sca' }],
]

export const behaviourOf = (token: string, account: string): Behaviour => {
  const effect = effects.find(([word]) => token.includes(word))
  if (!effect) return { kind: 'succeed' }
  // The account's name may hold the word itself, so what follows `at_` is compared from its start.
  const limited = /(?:^|[_-])at_(.+)$/.exec(token)?.[1]
  const applies = limited === undefined || limited === account || limited.startsWith(`${account}_`)
  return applies ? effect[1] : { kind: 'succeed' }
}
