/**
 * Entitlements as bundles name them: in full, by kind, or in the shorthand of the platform model.
 *
 *   { type: "feature_flag", value: "analytics_dashboard", enabled: true }   a flag; its `value` is the key
 *   { type: "api_limit", value: 10000, unit: "calls_per_month" }            a quota with key `api_limit`
 */
import { intervals } from '../../../common/calendar.ts'
import type { Entitlement, LimitTerms } from '../../../common/entitlements/model.ts'
import { isNormal, normalRule, z } from '../fields.ts'

const KEY_RULE = '1 to 128 letters (with their marks), digits or . _ : -'
const key = z
  .string()
  .regex(/^(?!\p{M})[\p{L}\p{M}\p{N}._:-]{1,128}$/u, `must be ${KEY_RULE}`)
  .refine(isNormal, normalRule)
const limit = z.int().min(0).max(Number.MAX_SAFE_INTEGER)
const per = z.enum(intervals)

const UNIT = /^[a-z0-9_]+_per_(day|week|month|quarter|year)$/
const unit = z.string().regex(UNIT, `must be a name and a period, such as calls_per_month; periods are ${intervals.join(', ')}`)
const periodOfUnit = (text: string) => UNIT.exec(text)?.[1] as (typeof intervals)[number]

const featureFlag = z
  .strictObject({ type: z.literal('feature_flag'), value: key, enabled: z.boolean().default(true) })
  .transform((input): Entitlement => ({ key: input.value, kind: 'flag', enabled: input.enabled }))

const apiLimit = z
  .strictObject({ type: z.literal('api_limit'), key: key.default('api_limit'), value: limit, unit })
  .transform((input): Entitlement => ({ key: input.key, kind: 'quota', limit: input.value, per: periodOfUnit(input.unit) }))

/** `limit: null` or `unlimited: true`; one of the two spellings, and exactly one statement. */
const limited = { limit: limit.nullable().optional(), value: limit.optional(), unlimited: z.literal(true).optional() }
interface Limited {
  limit?: number | null | undefined
  value?: number | undefined
  unlimited?: true | undefined
}
/** How the limit is kept, and shares of it at which a warning is given. */
const limitTerms = {
  overage: z.enum(['deny', 'allow']).optional(),
  warnAt: z
    .array(z.int().min(1).max(1_000))
    .max(10)
    .refine((shares) => new Set(shares).size === shares.length, 'must not have the same share twice')
    .optional(),
}
const limitTermsOf = ({ overage, warnAt }: { overage?: 'deny' | 'allow' | undefined; warnAt?: number[] | undefined }): LimitTerms => ({
  ...(overage === 'allow' ? { overage } : {}),
  ...(warnAt && warnAt.length > 0 ? { warnAt: warnAt.toSorted((a, b) => a - b) } : {}),
})
/** Without a limit nothing goes beyond it, and it has no shares. */
const needsLimit = (input: Limited & { overage?: unknown; warnAt?: unknown }, context: z.RefinementCtx): void => {
  if (limitOf(input) !== null || statements(input) !== 1) return
  for (const name of ['overage', 'warnAt'] as const)
    if (input[name] !== undefined) context.addIssue({ code: 'custom', message: 'is for a limit, and this is unlimited', path: [name] })
}

const statements = (input: Limited): number => [input.limit, input.value, input.unlimited].filter((one) => one !== undefined).length
const limitOf = (input: Limited): number | null => (input.unlimited ? null : (input.limit ?? input.value ?? null))
const oneLimit = { message: 'is required: a whole number, or null for unlimited', path: ['limit'] }

const flag = z.strictObject({ kind: z.literal('flag'), key, enabled: z.boolean().default(true) }).transform((input): Entitlement => input)
const quota = z
  .strictObject({ kind: z.literal('quota'), key, ...limited, ...limitTerms, per: per.optional(), unit: unit.optional() })
  .refine((input) => statements(input) === 1, oneLimit)
  .refine((input) => (input.per === undefined) !== (input.unit === undefined), {
    message: `is required: when the quota resets, one of ${intervals.join(', ')}`,
    path: ['per'],
  })
  .superRefine(needsLimit)
  .transform(
    (input): Entitlement => ({
      ...{ key: input.key, kind: 'quota', limit: limitOf(input), per: input.per ?? periodOfUnit(input.unit ?? '') },
      ...limitTermsOf(input),
    }),
  )
const capacity = z
  .strictObject({ kind: z.literal('capacity'), key, ...limited, ...limitTerms })
  .refine((input) => statements(input) === 1, oneLimit)
  .superRefine(needsLimit)
  .transform((input): Entitlement => ({ key: input.key, kind: 'capacity', limit: limitOf(input), ...limitTermsOf(input) }))
const value = z.strictObject({ kind: z.literal('value'), key, value: z.string().max(1_000) }).transform((input): Entitlement => input)

const byKind = z.discriminatedUnion('kind', [flag, quota, capacity, value], {
  error: 'kind must be flag, quota, capacity or value (or type must be feature_flag or api_limit)',
})
const byType = z.discriminatedUnion('type', [featureFlag, apiLimit])

const namesShorthand = (input: unknown): boolean =>
  typeof input === 'object' && input !== null && 'type' in input && (input.type === 'feature_flag' || input.type === 'api_limit')

/** `type` is taken for `kind`, since the platform model writes it so. */
const withKind = (input: unknown): unknown => {
  if (typeof input !== 'object' || input === null || !('type' in input) || 'kind' in input) return input
  const { type, ...rest } = input
  return { kind: type, ...rest }
}

/** For the document, whose generator does not look behind `unknown`. */
const { $schema: _, ...shape } = z.toJSONSchema(z.union([byKind, byType]), {
  io: 'input',
  // Not every language has classes of Unicode: these are said in words.
  override: ({ jsonSchema }) => {
    if (!jsonSchema.pattern?.includes('\\p{')) return
    delete jsonSchema.pattern
    jsonSchema.description = KEY_RULE
  },
})

const entitlement = z
  .unknown()
  .transform((input, context): Entitlement => {
    const parsed = namesShorthand(input) ? byType.safeParse(input) : byKind.safeParse(withKind(input))
    if (parsed.success) return parsed.data
    for (const issue of parsed.error.issues) context.issues.push({ ...issue, input } as never)
    return z.NEVER
  })
  .openapi('NewEntitlement', {
    ...(shape as object),
    type: 'object',
    description:
      'By kind: {key, kind: flag, enabled}, {key, kind: quota, limit, per, overage?, warnAt?}, {key, kind: capacity, limit, overage?, warnAt?}, {key, kind: value, value}; or the shorthand feature_flag and api_limit.',
    example: { type: 'api_limit', value: 10000, unit: 'calls_per_month' },
  })

/** More than any bundle or grant has; bounds sets, which hold them all. */
const MAX_ENTITLEMENTS = 200

export const entitlementsInput = z
  .array(entitlement)
  .max(MAX_ENTITLEMENTS)
  .superRefine((list, context) => {
    const seen = new Set<string>()
    list.forEach((one, n) => {
      if (seen.has(one.key)) context.addIssue({ code: 'custom', path: [n, 'key'], message: `${one.key} is already in the list` })
      seen.add(one.key)
    })
  })

export const entitlementAnswer = z
  .object({
    key: z.string(),
    kind: z.enum(['flag', 'quota', 'capacity', 'value']),
    enabled: z.boolean().optional(),
    limit: z.int().nullable().optional(),
    per: per.optional(),
    overage: z.enum(['allow']).optional().openapi({ description: 'Present: the limit is soft, and uses beyond it are allowed and counted.' }),
    warnAt: z.array(z.int()).optional().openapi({ description: 'Shares of the limit, in percent, at which a warning is given.' }),
    value: z.string().optional(),
  })
  .openapi('Entitlement')
