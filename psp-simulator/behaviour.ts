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
  /** The answer is "not yet"; it succeeds a moment later, by webhook; with `forMs`, so much later by the tenant's test clock. */
  | { kind: 'pending'; forMs?: number }
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
  if (effect[0] === 'pending') return pendingFor(token, account)
  return limited(token, account, effect[1])
}

const UNITS_MS = { h: 3_600_000, d: 86_400_000 }

/** `pending_3d`, `pending_12h`: how long by the tenant's test clock. */
const pendingFor = (token: string, account: string): Behaviour => {
  const [, count, unit] = /pending_(\d{1,4})([hd])(?![a-z0-9])/.exec(token) ?? []
  const forMs = count && unit ? { forMs: Number(count) * UNITS_MS[unit as 'h' | 'd'] } : {}
  return limited(token, account, { kind: 'pending', ...forMs })
}

const limited = (token: string, account: string, behaviour: Behaviour): Behaviour => {
  // The account's name may hold the word itself, so what follows `at_` is compared from its start.
  const to = /(?:^|[_-])at_(.+)$/.exec(token)?.[1]
  const applies = to === undefined || to === account || to.startsWith(`${account}_`)
  return applies ? behaviour : { kind: 'succeed' }
}
