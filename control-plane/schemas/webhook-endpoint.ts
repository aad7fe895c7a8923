import { asItIs, type DocumentOf, defineFields, defineSchema, eventFields, part } from './schema.ts'

/** `asked`: by a caller. `failing`: by Tollgate, after it had failed for long. `gone`: it answered 410. */
export const disabledReasons = ['asked', 'failing', 'gone'] as const

/** Where a tenant wants its events sent. */
const fields = defineFields({
  id: { type: String, required: true },
  url: { type: String, required: true },
  description: { type: String },
  /** Types, families such as `subscription.*`, or `*`. */
  types: { type: [String], required: true },
  /** Only events of these storefronts. Absent: all. */
  storefrontIds: { type: [String], default: undefined },
  /** Events of one subject come in their order: one that fails holds back those after it. */
  ordered: { type: Boolean, required: true, default: false },
  enabled: { type: Boolean, required: true, default: true },
  disabledAt: { type: Date },
  disabledReason: { type: String, enum: disabledReasons },
  /** The oldest first. Messages are signed with each that has not expired; the last one does not expire. */
  secrets: {
    type: [
      part({
        id: { type: String, required: true },
        /** Sealed. */
        secret: { type: String, required: true },
        createdAt: { type: Date, required: true },
        expiresAt: { type: Date },
      }),
    ],
    required: true,
  },
  /** It is sent what comes after this place of the log: where the log was when it was created, or enabled again. */
  fromPosition: { type: Number, required: true, default: 0 },
  metadata: { type: asItIs<Record<string, string>>() },
  ...eventFields,
})
export type WebhookEndpoint = DocumentOf<typeof fields>
export const webhookEndpointSchema = defineSchema(fields)
webhookEndpointSchema.index({ tenantId: 1, createdAt: 1, _id: 1 })
webhookEndpointSchema.index({ outboxAt: 1, _id: 1 })
