import { type DocumentOf, defineFields, defineSchema, part, workFields } from './schema.ts'

/**
 * `received`: stored, and not applied yet. `ignored`: nothing follows from it; `why` says which. `failed`: it could not
 * be applied, and is tried again until it is.
 */
export const webhookStatuses = ['received', 'applied', 'ignored', 'failed'] as const

const outcome = part({
  status: { type: String, required: true },
  declineClass: { type: String },
  pspCode: { type: String },
  pspReference: { type: String },
  actionUrl: { type: String },
})

/** A PSP's event, stored once per (account, event id) before it is applied. */
const fields = defineFields({
  account: { type: String, required: true },
  eventId: { type: String, required: true },
  type: { type: String, required: true },
  status: { type: String, enum: webhookStatuses, required: true },
  /** Why it was ignored, or could not be applied. */
  why: { type: String },
  /** The body as received, which it is read from again. Absent once it was erased. */
  rawBody: { type: String },
  /** The time when the customer that it is about was erased, and with it what the event said. */
  erasedAt: { type: Date },
  /** The charge that it is about, by our reference (the attempt's id), the PSP's, or both; and what it says of it. */
  charge: { type: part({ reference: { type: String }, pspReference: { type: String }, outcome: { type: outcome } }) },
  /** The refund that it is about, by our reference, or by its charge's and the PSP's. */
  refund: { type: part({ reference: { type: String, required: true }, pspReference: { type: String }, outcome: { type: outcome, required: true } }) },
  dispute: {
    type: part({
      id: { type: String, required: true },
      status: { type: String, required: true },
      amountMinor: { type: Number, required: true },
      currency: { type: String, required: true },
      reason: { type: String, required: true },
      respondBy: { type: Date },
      at: { type: Date },
    }),
  },
  paymentId: { type: String },
  appliedAt: { type: Date },
  replays: { type: Number },
  expiresAt: { type: Date, required: true },
  repairAt: workFields.repairAt,
})

export type WebhookEvent = DocumentOf<typeof fields>
export const webhookEventSchema = defineSchema(fields)
webhookEventSchema.index({ repairAt: 1, _id: 1 })
webhookEventSchema.index({ expiresAt: 1, _id: 1 })
webhookEventSchema.index({ tenantId: 1, createdAt: 1, _id: 1 })
webhookEventSchema.index({ tenantId: 1, paymentId: 1, createdAt: 1, _id: 1 })
webhookEventSchema.index({ tenantId: 1, account: 1, createdAt: 1, _id: 1 })
webhookEventSchema.index({ tenantId: 1, status: 1, createdAt: 1, _id: 1 })
webhookEventSchema.index({ tenantId: 1, account: 1, status: 1, createdAt: 1, _id: 1 })
