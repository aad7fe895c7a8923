/** Why a customer may use something, or may not: what only the control plane knows, asked for through the feed. */
import { z } from '../zod.ts'
import { type CustomerKey, grantModes, grantSources, kinds } from './model.ts'

const date = z.iso.datetime()

/** A subscription of the customer that grants the entitlement, in whatever state. */
const holding = z.object({
  subscriptionId: z.string(),
  bundleId: z.string(),
  status: z.string(),
  periodStart: date,
  periodEnd: date,
  /** The payment of the bill that began the period; absent for a period that cost nothing. */
  paymentId: z.string().optional(),
  paymentStatus: z.string().optional(),
})

/** A bundle of the storefront that would grant it. */
const offer = z.object({
  bundleId: z.string(),
  name: z.string(),
  kind: z.enum(kinds),
  /** The limit of a quota or capacity; null is unlimited. */
  limit: z.number().nullable().optional(),
  value: z.string().optional(),
})

/** What gives or denies it, now or at another time: as it stands in the customer's set. */
const source = z.object({
  source: z.enum(['subscription', ...grantSources]),
  /** Of the subscription, or of the grant. */
  id: z.string(),
  mode: z.enum(['add', ...grantModes]),
  from: date,
  until: date.optional(),
  inactive: z.boolean(),
  kind: z.enum(kinds),
  enabled: z.boolean().optional(),
  limit: z.number().nullable().optional(),
  value: z.string().optional(),
})

/** A control plane of before there were grants by hand names no sources. */
export const explanation = z.object({ holdings: z.array(holding), offers: z.array(offer), sources: z.array(source).default([]) })
export type Explanation = z.infer<typeof explanation>

export const explainQuestion = z.object({ tenantId: z.string(), storefrontId: z.string(), customerId: z.string(), entitlement: z.string() })
export type ExplainQuestion = CustomerKey & { entitlement: string }
