/**
 * The effects of a payment method token on the simulator. Any token succeeds; one that contains one of these words does that,
 * and `at_<account>` limits its effects to one account: `pm_decline_issuer_soft_at_stripe`. One word says what becomes of the
 * charge; others say what follows from it later, and a token may carry several of them.
 */
import { DAY_MS, HOUR_MS } from '../common/durations.ts'

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

/** The words about refunds; taken out before the charge's own words are looked for, since `refund_pending` is no `pending`. */
const REFUND_WORDS = /refund_(?:pending|bounces|fails)(?:_\d{1,4}[hd](?![a-z0-9]))?/g

/** @param authenticate the issuer has asked for the customer, and the customer is there. */
export const behaviourOf = (token: string, account: string, authenticate = false): Behaviour => {
  const ofCharge = token.replaceAll(REFUND_WORDS, '')
  const effect = effects.find(([word]) => ofCharge.includes(word))
  if (!effect || !applies(token, account)) return { kind: 'succeed' }
  const [, behaviour] = effect
  if (behaviour.kind === 'pending') {
    const forMs = timeAfter(ofCharge, 'pending')
    return forMs === undefined ? behaviour : { ...behaviour, forMs }
  }
  return authenticate && behaviour.kind === 'decline' && behaviour.declineClass === 'action_required' ? { kind: 'sca' } : behaviour
}

/** The account's key is taken to be wrong: nothing is looked at. */
export const refusesCredentials = (token: string, account: string): boolean => token.includes('wrong_credentials') && applies(token, account)

/** A customer who has to act may do so for ever: the charge cannot be canceled meanwhile. */
export const actsLate = (token: string, account: string): boolean => token.includes('sca_late') && applies(token, account)

/** The money is held, and cannot be taken. */
export const captureFails = (token: string, account: string): boolean => token.includes('capture_fails') && applies(token, account)

/** The fate of the charge's refunds. All parts absent: each is made at once, for good. Times are of the tenant's test clock. */
export interface RefundBehaviour {
  /** Refused at once. */
  fails?: true
  /** Only accepted at first. */
  pendingForMs?: number
  /** So long after it was made, it comes back. */
  bouncesAfterMs?: number
}

const REFUND_PENDING_FOR_MS = 60_000
const REFUND_BOUNCES_AFTER_MS = 3 * DAY_MS

export const refundBehaviourOf = (token: string, account: string): RefundBehaviour => {
  if (!applies(token, account)) return {}
  if (token.includes('refund_fails')) return { fails: true }
  return {
    ...(token.includes('refund_pending') ? { pendingForMs: timeAfter(token, 'refund_pending') ?? REFUND_PENDING_FOR_MS } : {}),
    ...(token.includes('refund_bounces') ? { bouncesAfterMs: timeAfter(token, 'refund_bounces') ?? REFUND_BOUNCES_AFTER_MS } : {}),
  }
}

export interface DisputeBehaviour {
  /** How long after the charge it opens, by the tenant's test clock. */
  opensAfterMs: number
  /** Absent: it stays open. */
  decided?: 'won' | 'lost'
}

const DISPUTE_OPENS_AFTER_MS = DAY_MS

export const disputeBehaviourOf = (token: string, account: string): DisputeBehaviour | undefined => {
  // In any order: `dispute_lost_3d` is `dispute_3d_lost`.
  const words = /dispute((?:_(?:won|lost|\d{1,4}[hd])(?![a-z0-9]))*)/.exec(token)?.[1]
  if (words === undefined || !applies(token, account)) return undefined
  const decided = (['won', 'lost'] as const).find((word) => words.includes(word))
  return { opensAfterMs: timeAfter(words, '') ?? DISPUTE_OPENS_AFTER_MS, ...(decided ? { decided } : {}) }
}

/** `pending_3d`, `pending_12h`: how long by the tenant's test clock. */
const timeAfter = (token: string, word: string): number | undefined => {
  const [, count, unit] = new RegExp(`${word}_(\\d{1,4})([hd])(?![a-z0-9])`).exec(token) ?? []
  return count && unit ? Number(count) * (unit === 'h' ? HOUR_MS : DAY_MS) : undefined
}

const applies = (token: string, account: string): boolean => {
  // The account's name may hold the word itself, so what follows `at_` is compared from its start.
  const to = /(?:^|[_-])at_(.+)$/.exec(token)?.[1]
  return to === undefined || to === account || to.startsWith(`${account}_`)
}
