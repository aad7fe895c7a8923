/**
 * The fields that the audit log, which nobody can change, must not hold: secrets, and whatever identifies people, since they
 * may be erased. That such a field changed is said, its value is not.
 */
import { Secret } from '../../common/secret.ts'
import { derivedId } from '../keys.ts'

const SECRET = '[secret]'
const PERSONAL = '[personal]'
const CUT = '[cut]'

const secrets = new Set([
  'secret',
  'apiKey',
  'webhookSecret',
  'credentials',
  'clientSecret',
  'tokens',
  'token',
  'password',
  'code',
  'paymentMethod',
  'invitation',
  'csrfToken',
  'totpUri',
])
const personal = new Set(['email', 'metadata', 'description', 'country', 'paymentMethods', 'nextAction', 'returnUrl', 'body', 'details'])

const MAX_TEXT = 300
const MAX_DEPTH = 8
const MAX_LIST = 100

/**
 * A customer, told by a name that says nothing of it: whoever knows the id can compute it, and nobody else reads it here. Ids may
 * be e-mail addresses, and a customer may be erased.
 */
export const customerReference = (tenantId: string, storefrontId: string, customerId: string): string =>
  derivedId('customer', tenantId, storefrontId, customerId)

/** @param isCustomer whether the value itself is a customer. */
export const masked = (value: unknown, context: { tenantId: string; storefrontId?: string | undefined; isCustomer?: boolean }, depth = 0): unknown => {
  if (typeof value === 'string') return value.length > MAX_TEXT ? `${value.slice(0, MAX_TEXT)}…` : value
  if (typeof value !== 'object' || value === null) return value
  if (depth >= MAX_DEPTH) return CUT
  if (Array.isArray(value)) {
    const kept: unknown[] = value.slice(0, MAX_LIST).map((one) => masked(one, context, depth + 1))
    return value.length > MAX_LIST ? [...kept, CUT] : kept
  }
  const { storefrontId: named } = value as { storefrontId?: unknown }
  const here = { ...context, storefrontId: typeof named === 'string' ? named : context.storefrontId }
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, part]) => part !== undefined)
      .map(([field, part]) => [field, maskedField(field, part, here, depth)]),
  )
}

const maskedField = (field: string, value: unknown, context: Parameters<typeof masked>[1], depth: number): unknown => {
  if (value === null || value === undefined) return value
  if (secrets.has(field) || value instanceof Secret) return SECRET
  if (personal.has(field) || (context.isCustomer && field === 'name')) return PERSONAL
  if (typeof value === 'string' && (field === 'customerId' || (context.isCustomer && field === 'id' && depth === 0)))
    return customerReference(context.tenantId, context.storefrontId ?? '', value)
  return masked(value, context, depth + 1)
}

/**
 * The fields that differ; of a new document, all that it has. Compared as they are, told as `masked`.
 * @param before undefined for a new document. @param after undefined for one that is gone.
 */
export const changesBetween = (
  before: unknown,
  after: unknown,
  context: Parameters<typeof masked>[1],
): { field: string; before?: unknown; after?: unknown }[] => {
  const [old, now] = [asObject(before), asObject(after)]
  const fields = [...new Set([...Object.keys(old), ...Object.keys(now)])]
  const changed = fields.filter((field) => JSON.stringify(old[field]) !== JSON.stringify(now[field]))
  const [oldMasked, nowMasked] = [asObject(masked(old, context)), asObject(masked(now, context))]
  return changed.map((field) => ({
    field,
    ...(field in oldMasked ? { before: oldMasked[field] } : {}),
    ...(field in nowMasked ? { after: nowMasked[field] } : {}),
  }))
}

const asObject = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {}
