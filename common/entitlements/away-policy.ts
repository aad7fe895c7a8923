/** What becomes of a use, per entitlement, when no ledger can be asked and nothing is lent. */
import { z } from '../zod.ts'

const rule = z.enum(['deny', 'allow'], 'must be "deny" or "allow"')

export const awayPolicy = z.strictObject({
  /** Absent: hard limits deny, and soft ones allow. */
  default: rule.optional(),
  entitlements: z.record(z.string().min(1), rule).default({}),
})

export type AwayPolicy = z.infer<typeof awayPolicy>

export const whenAwayOf = ({ default: otherwise, entitlements }: AwayPolicy, entitlement: string, isSoft: boolean): 'deny' | 'allow' =>
  (Object.hasOwn(entitlements, entitlement) ? entitlements[entitlement] : undefined) ?? otherwise ?? (isSoft ? 'allow' : 'deny')

/** Whether anything may be counted that no ledger knows of yet. */
export const allowsAny = ({ default: otherwise, entitlements }: AwayPolicy): boolean => otherwise === 'allow' || Object.values(entitlements).includes('allow')
