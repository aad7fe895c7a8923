/** Every collection, with its schema and the type of its documents. */
import { type ApiKey, apiKeySchema } from './api-key.ts'
import { type AuditBlock, auditBlockSchema } from './audit-block.ts'
import { type Bundle, type BundleVersion, bundleSchema, bundleVersionSchema, type EntitlementKind, entitlementKindSchema } from './bundle.ts'
import { type Customer, customerSchema } from './customer.ts'
import { type CustomerGrants, customerGrantsSchema } from './customer-grants.ts'
import { entitlementSetSchema, type StoredEntitlementSet, type UsageCounters, usageCountersSchema } from './entitlement-set.ts'
import { type EventLog, eventLogSchema, type LoggedEvent, loggedEventSchema } from './event.ts'
import { type IdempotencyRecord, idempotencyRecordSchema } from './idempotency-record.ts'
import { type Installation, installationSchema } from './installation.ts'
import { type MigrationRecord, migrationRecordSchema } from './migration-record.ts'
import { type Payment, paymentSchema } from './payment.ts'
import { type PspAccount, pspAccountSchema } from './psp-account.ts'
import { type Role, roleSchema } from './role.ts'
import { type SettlementDifference, type SettlementReport, settlementDifferenceSchema, settlementReportSchema } from './settlement-report.ts'
import { type Storefront, storefrontSchema } from './storefront.ts'
import { type EventChunk, eventChunkSchema, type Subscription, subscriptionSchema } from './subscription.ts'
import { type Tenant, tenantSchema } from './tenant.ts'
import { type Tombstone, tombstoneSchema } from './tombstone.ts'
import { type CountedReport, countedReportSchema, type UsageMonth, usageMonthSchema } from './usage-history.ts'
import { type IdentityProvider, identityProviderSchema, type Session, sessionSchema, type User, userSchema } from './user.ts'
import { type EventCursors, eventCursorsSchema, type WebhookDelivery, webhookDeliverySchema } from './webhook-delivery.ts'
import { type WebhookEndpoint, webhookEndpointSchema } from './webhook-endpoint.ts'
import { type WebhookEvent, webhookEventSchema } from './webhook-event.ts'

export interface Documents {
  installations: Installation
  tenants: Tenant
  apiKeys: ApiKey
  roles: Role
  users: User
  sessions: Session
  identityProviders: IdentityProvider
  auditBlocks: AuditBlock
  storefronts: Storefront
  pspAccounts: PspAccount
  bundles: Bundle
  bundleVersions: BundleVersion
  entitlementKinds: EntitlementKind
  customers: Customer
  subscriptions: Subscription
  eventChunks: EventChunk
  payments: Payment
  entitlementSets: StoredEntitlementSet
  usageCounters: UsageCounters
  usageMonths: UsageMonth
  countedReports: CountedReport
  customerGrants: CustomerGrants
  tombstones: Tombstone
  idempotencyRecords: IdempotencyRecord
  webhookEvents: WebhookEvent
  settlementReports: SettlementReport
  settlementDifferences: SettlementDifference
  migrationRecords: MigrationRecord
  loggedEvents: LoggedEvent
  eventLogs: EventLog
  eventCursors: EventCursors
  webhookEndpoints: WebhookEndpoint
  webhookDeliveries: WebhookDelivery
}

export type CollectionName = keyof Documents

export const schemas = {
  installations: installationSchema,
  tenants: tenantSchema,
  apiKeys: apiKeySchema,
  roles: roleSchema,
  users: userSchema,
  sessions: sessionSchema,
  identityProviders: identityProviderSchema,
  auditBlocks: auditBlockSchema,
  storefronts: storefrontSchema,
  pspAccounts: pspAccountSchema,
  bundles: bundleSchema,
  bundleVersions: bundleVersionSchema,
  entitlementKinds: entitlementKindSchema,
  customers: customerSchema,
  subscriptions: subscriptionSchema,
  eventChunks: eventChunkSchema,
  payments: paymentSchema,
  entitlementSets: entitlementSetSchema,
  usageCounters: usageCountersSchema,
  usageMonths: usageMonthSchema,
  countedReports: countedReportSchema,
  customerGrants: customerGrantsSchema,
  tombstones: tombstoneSchema,
  idempotencyRecords: idempotencyRecordSchema,
  webhookEvents: webhookEventSchema,
  settlementReports: settlementReportSchema,
  settlementDifferences: settlementDifferenceSchema,
  migrationRecords: migrationRecordSchema,
  loggedEvents: loggedEventSchema,
  eventLogs: eventLogSchema,
  eventCursors: eventCursorsSchema,
  webhookEndpoints: webhookEndpointSchema,
  webhookDeliveries: webhookDeliverySchema,
} satisfies Record<CollectionName, unknown>
