/**
 * Decides, per entitlement, how to answer when the sidecar's data is too old, or when it has none and the feed cannot be
 * asked. `serve` answers with the last known data, marked as stale; `deny` refuses; a fallback is the answer itself. Both
 * kinds of answer, a denial and a fallback, carry the reason `fallback`.
 */

import { z } from '../zod.ts'
import type { Decision } from './decide.ts'

const fallback = z.strictObject({
  allowed: z.boolean(),
  /** The answer for a value. */
  value: z.string().optional(),
  /** The limit for a quota or capacity. */
  limit: z.number().int().min(0).optional(),
})
const rule = z.union([z.enum(['serve', 'deny']), z.strictObject({ fallback })], 'must be "serve", "deny" or {"fallback": {"allowed": …}}')

export const stalenessPolicy = z.strictObject({ default: rule.default('serve'), entitlements: z.record(z.string().min(1), rule).default({}) })

export type StalenessPolicy = z.infer<typeof stalenessPolicy>

export const servesAlways: StalenessPolicy = { default: 'serve', entitlements: {} }

/** The answer that the policy has for an entitlement; undefined: as it was last known. */
export const answerWhenStale = ({ default: otherwise, entitlements }: StalenessPolicy, entitlement: string): Decision | undefined => {
  const found = (Object.hasOwn(entitlements, entitlement) ? entitlements[entitlement] : undefined) ?? otherwise
  if (found === 'serve') return undefined
  const { allowed, value, limit } = found === 'deny' ? { allowed: false, value: undefined, limit: undefined } : found.fallback
  return {
    allowed,
    reason: 'fallback',
    unlimited: false,
    ...(value === undefined ? {} : { kind: 'value' as const, value }),
    ...(limit === undefined ? {} : { limit, remaining: limit }),
  }
}
