/** Why a customer may use something, or may not: what only the control plane knows, asked for through the feed. */
import { z } from '../zod.ts'
import type { CustomerKey } from './model.ts'

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
  kind: z.enum(['flag', 'quota', 'capacity', 'value']),
  /** The limit of a quota or capacity; null is unlimited. */
  limit: z.number().nullable().optional(),
  value: z.string().optional(),
})

export const explanation = z.object({ holdings: z.array(holding), offers: z.array(offer) })
export type Explanation = z.infer<typeof explanation>

export const explainQuestion = z.object({ tenantId: z.string(), storefrontId: z.string(), customerId: z.string(), entitlement: z.string() })
export type ExplainQuestion = CustomerKey & { entitlement: string }
