/**
 * The rules by which a gateway's requests are judged, as EXT_AUTHZ_RULES_FILE has them: which requests a rule is for, and where it finds
 * the customer, the entitlement and the amount. docs/gateways.md describes the file.
 */
import { parseDocument } from 'yaml'
import { ConfigError } from '../../common/config.ts'
import { z } from '../../common/zod.ts'
import { type PathTemplate, readPathTemplate } from './path-template.ts'
import type { PathRules } from './request-target.ts'

/** Every request goes through them in order, and each has its own time series. */
const MAX_RULES = 1_000

/** The name that metrics have for requests that no rule is for. */
export const NO_RULE = 'none'

const text = z.string().min(1)
const oneOrMore = <T extends z.ZodType>(one: T) => z.preprocess((given) => (given === undefined || Array.isArray(given) ? given : [given]), z.array(one).min(1))

const constant = z.union([text, z.int().nonnegative('must be text or a whole number')], 'must be text or a whole number')
const places = ['constant', 'header', 'path', 'query', 'claim', 'context'] as const
/** Where a value of a request is found. Text or a number by itself is a constant. */
const source = z.preprocess(
  (given) => (typeof given === 'string' || typeof given === 'number' ? { constant: given } : given),
  z
    .strictObject({
      constant: constant.optional(),
      header: text.transform((name) => name.toLowerCase()).optional(),
      path: text.optional(),
      query: text.optional(),
      claim: oneOrMore(text).optional(),
      /** What Envoy keeps the payload of a token under: `payload_in_metadata` of its JWT filter. */
      payload: text.optional(),
      context: text.optional(),
      default: constant.optional(),
    })
    .refine((given) => places.filter((place) => given[place] !== undefined).length === 1, `must have exactly one of ${places.join(', ')}`)
    .refine(({ claim, payload }) => payload === undefined || claim !== undefined, { path: ['payload'], message: 'needs a claim' }),
)
export type Source = z.infer<typeof source>

const template = text.transform((given, context): PathTemplate => {
  try {
    return readPathTemplate(given)
  } catch (error) {
    context.addIssue({ code: 'custom', message: error instanceof Error ? error.message : String(error) })
    return z.NEVER
  }
})

const host = z
  .string()
  .regex(/^(\*\.)?[^\s/:*]+$/, 'must be a host without a port, such as api.example.com or *.example.com')
  .transform((name) => name.toLowerCase())

const match = z.strictObject({
  host: oneOrMore(host).optional(),
  method: oneOrMore(z.string().regex(/^[A-Z]+$/, 'must be a method such as GET')).optional(),
  path: oneOrMore(template).optional(),
  /** By name: the value, or true for any. */
  headers: z
    .record(
      text.transform((name) => name.toLowerCase()),
      z.union([z.string(), z.literal(true)], 'must be text, or true for any value'),
    )
    .optional(),
})

/** What a rule says unless it is given in the rule itself. */
const defaults = {
  tenant: source.optional(),
  storefront: source.optional(),
  customer: source.optional(),
  /** What is answered if nobody is named. */
  missingStatus: z.union([z.literal(401), z.literal(403)], 'must be 401 or 403').optional(),
  /** What is answered if a limit is reached. */
  limitStatus: z.union([z.literal(402), z.literal(429)], 'must be 402 or 429').optional(),
  whenUnknown: z.enum(['refuse', 'allow']).optional(),
}

const rule = z.strictObject({
  name: z
    .string()
    .regex(/^[a-z0-9][a-z0-9_-]{0,63}$/, 'must be 1 to 64 of a-z, 0-9, _ and -')
    .refine((name) => name !== NO_RULE, `must not be ${NO_RULE}: metrics call requests so that no rule is for`),
  match: match.default({}),
  action: z.enum(['check', 'consume', 'allow', 'deny']),
  ...defaults,
  entitlement: source.optional(),
  amount: source.optional(),
  idempotencyKey: source.optional(),
  dryRun: z.boolean().optional(),
})

const sources = ['tenant', 'storefront', 'customer', 'entitlement', 'amount', 'idempotencyKey'] as const

const file = z.strictObject({
  /** For a request that no rule is for. */
  default: z.enum(['allow', 'deny']).default('deny'),
  /** Lets every request pass, and counts what would have been refused. */
  dryRun: z.boolean().default(false),
  paths: z
    .strictObject({ encodedSlashes: z.enum(['refuse', 'keep']).default('refuse'), semicolons: z.enum(['refuse', 'keep']).default('refuse') })
    .default({ encodedSlashes: 'refuse', semicolons: 'refuse' }),
  defaults: z.strictObject(defaults).default({}),
  rules: z.array(rule).max(MAX_RULES),
})

interface Match {
  host: readonly string[] | undefined
  method: readonly string[] | undefined
  path: readonly PathTemplate[] | undefined
  headers: readonly (readonly [name: string, value: string | true])[]
}

/** Of a rule that asks. */
export interface Question {
  tenant: Source
  storefront: Source
  customer: Source
  entitlement: Source
  amount: Source
  idempotencyKey: Source | undefined
  counts: boolean
  missingStatus: 401 | 403
  limitStatus: 402 | 429
  whenUnknown: 'refuse' | 'allow'
}

export interface Rule {
  name: string
  match: Match
  dryRun: boolean
  action: 'allow' | 'deny' | Question
}

export interface Rules {
  default: 'allow' | 'deny'
  dryRun: boolean
  paths: PathRules
  rules: readonly Rule[]
}

type Complain = (path: (string | number)[], message: string) => void

const ONE: Source = { constant: 1 }

const toRule = (given: z.infer<typeof rule>, common: z.infer<typeof file>, complain: Complain): Rule => {
  const { name, action, match: of } = given
  const parameters = of.path?.map(({ names }) => names) ?? [[]]
  for (const key of sources) {
    const named = (given[key] ?? (common.defaults[key as keyof typeof common.defaults] as Source | undefined))?.path
    if (named !== undefined && !parameters.every((names) => names.includes(named)))
      complain([key, 'path'], `must be a parameter of each match.path; ${named} is not`)
  }
  const base = {
    name,
    match: { host: of.host, method: of.method, path: of.path, headers: Object.entries(of.headers ?? {}) },
    dryRun: given.dryRun ?? common.dryRun,
  }
  if (action === 'allow' || action === 'deny') {
    for (const key of [...sources, 'missingStatus', 'limitStatus', 'whenUnknown'] as const)
      if (given[key] !== undefined) complain([key], `must not be set, for the action is ${action}`)
    return { ...base, action }
  }
  const { tenant, storefront, customer, entitlement, missingStatus, limitStatus, whenUnknown } = { ...common.defaults, ...given }
  const { idempotencyKey, amount = ONE } = given
  if (idempotencyKey !== undefined && action === 'check') complain(['idempotencyKey'], 'must not be set, for the action check counts nothing')
  if (idempotencyKey?.constant !== undefined) complain(['idempotencyKey', 'constant'], 'must not be set: all requests would count as one use')
  if (!tenant || !storefront || !customer || !entitlement) {
    for (const [key, value] of Object.entries({ tenant, storefront, customer, entitlement }))
      if (!value) complain([key], key === 'entitlement' ? 'is required' : 'is required, here or in defaults')
    return { ...base, action: 'deny' }
  }
  return {
    ...base,
    action: {
      ...{ tenant, storefront, customer, entitlement, amount, idempotencyKey, counts: action === 'consume' },
      missingStatus: missingStatus ?? 401,
      limitStatus: limitStatus ?? 402,
      whenUnknown: whenUnknown ?? 'refuse',
    },
  }
}

const ruleFile = file.transform((given, context): Rules => {
  const names = new Set<string>()
  const rules = given.rules.map((one, n) => {
    const complain: Complain = (path, message) => context.addIssue({ code: 'custom', path: ['rules', n, ...path], message })
    if (names.has(one.name)) complain(['name'], 'must not be the name of another rule')
    names.add(one.name)
    return toRule(one, given, complain)
  })
  return { default: given.default, dryRun: given.dryRun, paths: given.paths, rules }
})

const placeOf = (path: readonly PropertyKey[]): string =>
  path.reduce<string>((place, key) => (typeof key === 'number' ? `${place}[${key}]` : place === '' ? String(key) : `${place}.${String(key)}`), '')

/** @param written YAML 1.2 or JSON. @throws ConfigError that lists every mistake, by its place in the file. */
export const readRules = (written: string): Rules => {
  const document = parseDocument(written)
  const wrong = (lines: string[]) => new ConfigError(`EXT_AUTHZ_RULES_FILE: the rules are wrong:\n${lines.map((line) => `  ${line}`).join('\n')}`)
  if (document.errors.length > 0) throw wrong(document.errors.map(({ message }) => (message.split('\n')[0] ?? '').replace(/:$/, '')))
  let content: unknown
  try {
    content = document.toJS()
  } catch (error) {
    // Aliases that grow beyond all bounds.
    throw wrong([error instanceof Error ? error.message : String(error)])
  }
  const read = ruleFile.safeParse(content)
  if (read.success) return read.data
  throw wrong(read.error.issues.map(({ path, message }) => (path.length === 0 ? `the file ${message}` : `${placeOf(path)}: ${message}`)))
}
