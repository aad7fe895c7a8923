import type { InferRawDocType } from 'mongoose'
import { termsFields } from './bundle.ts'
import { defineFields, defineSchema, part, Schema, workFields } from './schema.ts'

/** The states of design: access is on in trialing, active and past_due alone. */
export const subscriptionStatuses = [
  'scheduled',
  'incomplete',
  'trialing',
  'active',
  'past_due',
  'suspended',
  'paused',
  'canceled',
  'expired',
  'incomplete_expired',
] as const
export type SubscriptionStatus = (typeof subscriptionStatuses)[number]

const fields = defineFields({
  id: { type: String, required: true },
  storefrontId: { type: String, required: true },
  customerId: { type: String, required: true },
  bundleId: { type: String, required: true },
  bundleVersion: { type: Number, required: true },
  /** The bundle's terms at the time of agreement. */
  ...termsFields,
  status: { type: String, enum: subscriptionStatuses, required: true },
  /** What every period is counted from, in `timeZone`. */
  anchor: { type: Date, required: true },
  timeZone: { type: String, required: true },
  /** Which period the subscription is in: [start, end) is anchor + index × interval. */
  currentPeriod: {
    type: part({
      index: { type: Number, required: true },
      start: { type: Date, required: true },
      end: { type: Date, required: true },
    }),
    required: true,
  },
  /** When access began for the first time. Absent while it never has. */
  accessFrom: { type: Date },
  trialEnd: { type: Date },
  /** The storefront's grace at the time of agreement, and when an overdue subscription loses its access. */
  graceHours: { type: Number, required: true },
  graceUntil: { type: Date },
  /** An `incomplete` subscription that is not paid by then expires. */
  payBy: { type: Date },
  paymentMethodId: { type: String },
  /** The payment that the subscription waits for. */
  openPaymentId: { type: String },
  cancelAtPeriodEnd: { type: Boolean, required: true, default: false },
  endedAt: { type: Date },
  endReason: { type: String, enum: ['canceled', 'period_end', 'payment_not_made'] },
  metadata: { type: Schema.Types.Mixed },
  ...workFields,
})

export type Subscription = InferRawDocType<typeof fields>
export const subscriptionSchema = defineSchema(fields)
subscriptionSchema.index({ tenantId: 1, createdAt: 1, _id: 1 })
subscriptionSchema.index({ tenantId: 1, status: 1, createdAt: 1, _id: 1 })
subscriptionSchema.index({ tenantId: 1, storefrontId: 1, createdAt: 1, _id: 1 })
subscriptionSchema.index({ tenantId: 1, storefrontId: 1, status: 1, createdAt: 1, _id: 1 })
subscriptionSchema.index({ tenantId: 1, storefrontId: 1, customerId: 1, createdAt: 1, _id: 1 })
subscriptionSchema.index({ tenantId: 1, storefrontId: 1, customerId: 1, status: 1, createdAt: 1, _id: 1 })
subscriptionSchema.index({ clock: 1, dueAt: 1, _id: 1 })
subscriptionSchema.index({ repairAt: 1, _id: 1 })
