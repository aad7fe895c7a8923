import type { InferRawDocType } from 'mongoose'
import { defineFields, defineSchema, part, workFields } from './schema.ts'

/** A PSP's event, stored once per (account, event id) before it is applied. */
const fields = defineFields({
  account: { type: String, required: true },
  eventId: { type: String, required: true },
  type: { type: String, required: true },
  /** The attempt it is about and what it says; absent for a type that Tollgate does not act on. */
  outcome: {
    type: part({
      paymentId: { type: String, required: true },
      attemptId: { type: String, required: true },
      status: { type: String, required: true },
      declineClass: { type: String },
      pspCode: { type: String },
      pspReference: { type: String },
      actionUrl: { type: String },
    }),
  },
  appliedAt: { type: Date },
  repairAt: workFields.repairAt,
})

export type WebhookEvent = InferRawDocType<typeof fields>
export const webhookEventSchema = defineSchema(fields)
webhookEventSchema.index({ repairAt: 1, _id: 1 })
