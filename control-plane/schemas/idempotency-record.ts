import { type DocumentOf, defineFields, defineSchema } from './schema.ts'

/** The result of a POST with an `Idempotency-Key`, so that a repeat is answered and not done again. */
const fields = defineFields({
  requestHash: { type: String, required: true },
  /** The seed of the ids that the request makes: a repeat after a crash makes the same ones. */
  seed: { type: String, required: true },
  /** The time until which the request is taken to be running; afterwards a repeat may take it over. */
  lockedUntil: { type: Date },
  status: { type: Number },
  /** The answer, sealed with a key derived from the caller's own secrets: an answer may show a secret once. */
  sealedAnswer: { type: String },
  expiresAt: { type: Date, required: true },
})

export type IdempotencyRecord = DocumentOf<typeof fields>
export const idempotencyRecordSchema = defineSchema(fields)
idempotencyRecordSchema.index({ expiresAt: 1, _id: 1 })
