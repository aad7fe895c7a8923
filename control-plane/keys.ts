/**
 * Identity: the `_id` of a document is the path that identifies it, tenant first, so that no read by id can cross tenants (records of
 * idempotency have a hash of theirs). Parts are escaped, so that no choice of ids can make two paths equal.
 */
import { createHash } from 'node:crypto'
import type { CustomerKey } from '../common/entitlements/model.ts'

/** Half a character, which others' ids may hold, cannot be escaped. */
const path = (...parts: string[]): string => parts.map((part) => encodeURIComponent(part.toWellFormed())).join('/')

/** The tenant of documents that belong to the platform itself. No tenant can have this id. */
export const PLATFORM = '*'

export const keys = {
  installation: PLATFORM,
  migrationRecord: (name: string) => path(PLATFORM, name),
  tenant: (tenantId: string) => path(tenantId),
  apiKey: (tenantId: string, id: string) => path(tenantId, id),
  role: (tenantId: string, id: string) => path(tenantId, id),
  user: (tenantId: string, id: string) => path(tenantId, id),
  session: (tenantId: string, hash: string) => path(tenantId, hash),
  identityProvider: (tenantId: string) => path(tenantId),
  auditBlock: (tenantId: string, seq: number) => path(tenantId, String(seq)),
  storefront: (tenantId: string, id: string) => path(tenantId, id),
  pspAccount: (tenantId: string, id: string) => path(tenantId, id),
  bundle: (tenantId: string, storefrontId: string, id: string) => path(tenantId, storefrontId, id),
  bundleVersion: (tenantId: string, storefrontId: string, id: string, version: number) => path(tenantId, storefrontId, id, String(version)),
  entitlementKind: (tenantId: string, storefrontId: string, key: string) => path(tenantId, storefrontId, key),
  customer: (tenantId: string, storefrontId: string, id: string) => path(tenantId, storefrontId, id),
  /** @param month such as 2024-03. */
  usageMonth: (tenantId: string, storefrontId: string, customerId: string, entitlement: string, month: string) =>
    path(tenantId, storefrontId, customerId, entitlement, month),
  countedReport: (tenantId: string, storefrontId: string, customerId: string, hash: string) => path(tenantId, storefrontId, customerId, hash),
  /** The key of a customer that was erased: it does not show the id. */
  tombstone: (tenantId: string, storefrontId: string, customerId: string) => path(tenantId, derivedId('gone', tenantId, storefrontId, customerId)),
  subscription: (tenantId: string, id: string) => path(tenantId, id),
  eventChunk: (tenantId: string, subscriptionId: string, firstSeq: number) => path(tenantId, subscriptionId, String(firstSeq)),
  payment: (tenantId: string, id: string) => path(tenantId, id),
  webhookEvent: (tenantId: string, account: string, eventId: string) => path(tenantId, account, eventId),
  webhookEndpoint: (tenantId: string, id: string) => path(tenantId, id),
  loggedEvent: (tenantId: string, id: string) => path(tenantId, id),
  eventLog: (tenantId: string) => path(tenantId),
  eventCursors: (tenantId: string) => path(tenantId),
  webhookDelivery: (tenantId: string, endpointId: string, eventId: string) => path(tenantId, endpointId, eventId),
  settlementReport: (tenantId: string, id: string) => path(tenantId, id),
  settlementDifference: (tenantId: string, reportId: string, place: string) => path(tenantId, reportId, place),
}

type Rest<F> = F extends (tenantId: string, ...rest: infer R) => string ? (...rest: R) => string : never

/** The same for one tenant: no other tenant's id can be made of them. */
export type OwnKeys = { readonly [K in Exclude<keyof typeof keys, 'installation' | 'migrationRecord'>]: Rest<(typeof keys)[K]> }

export const ownKeysOf = (tenantId: string): OwnKeys =>
  Object.fromEntries(
    Object.entries(keys).map(([name, key]) => [name, typeof key === 'string' ? key : (key as (...parts: unknown[]) => string).bind(undefined, tenantId)]),
  ) as OwnKeys

/** The tenant whose document it is: the first part of its path. */
export const tenantOf = (id: string): string => decodeURIComponent(id.slice(0, id.includes('/') ? id.indexOf('/') : undefined))

/** 128 bits of SHA-256 over the parts: an id that whoever repeats a step computes again. */
export const derivedId = (prefix: string, ...parts: (string | number)[]): string =>
  `${prefix}_${createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 32)}`

/** The customer that a document belongs to, without the rest of the document. */
export const customerKeyOf = ({ tenantId, storefrontId, customerId }: CustomerKey): CustomerKey => ({ tenantId, storefrontId, customerId })
