import { asItIs, type DocumentOf, defineFields, defineSchema, part } from './schema.ts'

/** `waiting`: an earlier event of its subject is not delivered yet, and the endpoint wants them in order. */
export const deliveryStatuses = ['delivered', 'retrying', 'waiting', 'failed'] as const

export const attemptOutcomes = ['delivered', 'refused', 'unreachable'] as const

const attempt = part({
  at: { type: Date, required: true },
  outcome: { type: String, enum: attemptOutcomes, required: true },
  /** The HTTP status of the answer, and the beginning of its body. */
  status: { type: Number },
  answer: { type: String },
  durationMs: { type: Number, required: true },
  error: { type: String },
})

/** An event on its way to one webhook endpoint. */
const fields = defineFields({
  endpointId: { type: String, required: true },
  eventId: { type: String, required: true },
  type: { type: String, required: true },
  /** The subject of the event, hashed: it may name a customer, and this outlives its erasure. */
  subjectKey: { type: String, required: true },
  /** Its place in the log. */
  position: { type: Number, required: true },
  status: { type: String, enum: deliveryStatuses, required: true },
  /** Where the last attempt went. */
  url: { type: String },
  /** The latest attempts, the oldest first. */
  attempts: { type: [attempt], required: true },
  /** Attempts since it was first tried, or replayed. */
  tries: { type: Number, required: true },
  /** When it is tried next, and when it is given up, in system time. */
  dueAt: { type: Date },
  giveUpAt: { type: Date, required: true },
  expiresAt: { type: Date, required: true },
})
export type WebhookDelivery = DocumentOf<typeof fields>
export const webhookDeliverySchema = defineSchema(fields)
webhookDeliverySchema.index({ tenantId: 1, endpointId: 1, createdAt: 1, _id: 1 })
webhookDeliverySchema.index({ tenantId: 1, endpointId: 1, status: 1, createdAt: 1, _id: 1 })
webhookDeliverySchema.index({ tenantId: 1, endpointId: 1, status: 1, subjectKey: 1, position: 1, _id: 1 })
webhookDeliverySchema.index({ tenantId: 1, endpointId: 1, dueAt: 1, _id: 1 })
webhookDeliverySchema.index({ expiresAt: 1, _id: 1 })

/** How far a tenant's events have been sent out, by whom they are sent to. */
export interface EventCursor {
  position: number
  /** Since when every attempt has failed: ISO 8601. Absent: the last one did not. */
  failingSince?: string
}

const cursorFields = defineFields({ cursors: { type: asItIs<Record<string, EventCursor>>(), required: true } })
export type EventCursors = DocumentOf<typeof cursorFields>
export const eventCursorsSchema = defineSchema(cursorFields)
