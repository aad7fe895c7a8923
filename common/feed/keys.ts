import type { CustomerKey } from '../entitlements/model.ts'

/** Ids may hold any character that a NATS key may not, so each part travels as base64url. */
export const keyPart = (id: string): string => Buffer.from(id).toString('base64url')

export const setKey = ({ tenantId, storefrontId, customerId }: CustomerKey): string =>
  `set.${keyPart(tenantId)}.${keyPart(storefrontId)}.${keyPart(customerId)}`

export const isSetKey = (key: string): boolean => key.startsWith('set.')

/** Every set of a tenant. */
export const keysOfTenant = (tenantId: string): string => `set.${keyPart(tenantId)}.>`

/** Undefined for a key that is of no tenant. */
export const tenantOfKey = (key: string): string | undefined => {
  if (!isSetKey(key) && !isClockKey(key)) return undefined
  const [, tenant = ''] = key.split('.')
  return Buffer.from(tenant, 'base64url').toString()
}

/** Undefined for a key that is not of a set. */
export const customerOf = (key: string): CustomerKey | undefined => {
  const [kind, ...parts] = key.split('.')
  if (kind !== 'set' || parts.length !== 3) return undefined
  const [tenantId = '', storefrontId = '', customerId = ''] = parts.map((text) => Buffer.from(text, 'base64url').toString())
  return { tenantId, storefrontId, customerId }
}

export const clockKey = (tenantId: string): string => `clock.${keyPart(tenantId)}`

export const isClockKey = (key: string): boolean => key.startsWith('clock.')

/** The key of the message that says up to which sequence the stream has been purged. */
export const FORGOTTEN_KEY = 'forgotten'
