/** What the data of events looks like: the same objects that the HTTP API answers, made by the same functions. */
import { decide } from '../../common/entitlements/decide.ts'
import { toEntitlementSet } from '../entitlements/publish-entitlements.ts'
import type { EventObject } from '../events/event-types.ts'
import type { Renderers } from '../events/record.ts'
import type { Bundle } from '../schemas/bundle.ts'
import type { Customer } from '../schemas/customer.ts'
import type { StoredEntitlementSet, UsageCounters } from '../schemas/entitlement-set.ts'
import { accountTroubles, type PspAccount, pspProviders } from '../schemas/psp-account.ts'
import type { SettlementReport } from '../schemas/settlement-report.ts'
import { instant, iso, isoOrNull, z } from './fields.ts'
import { bundleAnswer, toBundleAnswer } from './routes/bundles.ts'
import { customerAnswer, heldAnswer, toCustomerAnswer, toHeldAnswer } from './routes/customers.ts'
import { paymentAnswer, toPaymentAnswer } from './routes/payment-answer.ts'
import { reportAnswer, toReportAnswer } from './routes/settlement-reports.ts'
import { subscriptionAnswer, toSubscriptionAnswer } from './routes/subscription-answer.ts'

const entitlementChange = z
  .object({
    storefrontId: z.string(),
    customerId: z.string(),
    revision: z.int().openapi({ description: 'Send it to CheckEntitlement as min_revision, and the check sees the change.' }),
    entitlements: z.array(heldAnswer).openapi({ description: 'The entitlements that the event is about, as they are now; the others are as they were.' }),
  })
  .openapi('EntitlementChange')

const usageWarning = z
  .object({
    storefrontId: z.string(),
    customerId: z.string(),
    entitlement: z.string(),
    share: z.int().openapi({ description: 'In percent of the limit.' }),
    used: z.int(),
    limit: z.int(),
    windowEnd: instant.nullable().openapi({ description: 'When the quota begins again. Null: a capacity.' }),
  })
  .openapi('UsageWarning')

const pspAccountTrouble = z
  .object({
    id: z.string(),
    provider: z.enum(pspProviders),
    trouble: z.enum(accountTroubles),
    why: z.string(),
    at: instant,
    until: instant.nullable().openapi({ description: 'Until when payments are routed around the account. Null: until you change its credentials.' }),
  })
  .openapi('PspAccountTrouble')

const webhookEndpointState = z
  .object({ id: z.string(), url: z.string(), enabled: z.boolean(), disabledReason: z.string().nullable() })
  .openapi('WebhookEndpointState')

export const eventData: { readonly [O in EventObject]: z.ZodType } = {
  Customer: customerAnswer,
  Subscription: subscriptionAnswer,
  Payment: paymentAnswer,
  EntitlementChange: entitlementChange,
  UsageWarning: usageWarning,
  Bundle: bundleAnswer,
  PspAccountTrouble: pspAccountTrouble,
  SettlementReport: reportAnswer,
  WebhookEndpointState: webhookEndpointState,
}

interface Context {
  time: Date
  part: unknown
}

export const eventRenderers: Renderers = {
  Customer: (customer: Customer, { time }: Context): z.output<typeof customerAnswer> => toCustomerAnswer(customer, time),
  Subscription: toSubscriptionAnswer,
  Payment: toPaymentAnswer,
  EntitlementChange: (stored: StoredEntitlementSet, { time, part }: Context): z.output<typeof entitlementChange> => {
    const { storefrontId, customerId } = stored
    const set = toEntitlementSet(stored)
    const entitlements = (part as string[]).map((key) => toHeldAnswer(key, decide(set, key, 1, time.getTime())))
    return { storefrontId, customerId, revision: set.revision, entitlements }
  },
  UsageWarning: ({ storefrontId, customerId }: UsageCounters, { part }: Context): z.output<typeof usageWarning> => {
    const { key: entitlement, share, used, limit, until } = part as NonNullable<UsageCounters['warned']>[number]
    return { storefrontId, customerId, entitlement, share, used, limit, windowEnd: isoOrNull(until) }
  },
  Bundle: (bundle: Bundle): z.output<typeof bundleAnswer> => toBundleAnswer(bundle, bundle),
  PspAccountTrouble: ({ id, provider }: PspAccount, { part }: Context): z.output<typeof pspAccountTrouble> => {
    const { kind: trouble, why, at, until } = part as NonNullable<PspAccount['troubles']>[number]
    return { id, provider, trouble, why, at: iso(at), until: isoOrNull(until) }
  },
  SettlementReport: (report: SettlementReport): z.output<typeof reportAnswer> => toReportAnswer(report),
  WebhookEndpointState: (endpoint: { id: string; url: string; enabled: boolean; disabledReason?: string }): z.output<typeof webhookEndpointState> => ({
    id: endpoint.id,
    url: endpoint.url,
    enabled: endpoint.enabled,
    disabledReason: endpoint.disabledReason ?? null,
  }),
}
