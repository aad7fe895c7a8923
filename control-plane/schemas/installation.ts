import { type DocumentOf, defineFields, defineSchema } from './schema.ts'

/**
 * One document: which installation this storage is, and what control planes have seen last.
 */
const fields = defineFields({
  id: { type: String, required: true },
  /** The feed as it was kept last: which filling of it, and how far. One that has gone back has lost what came last. */
  feedEpoch: { type: String },
  feedSequence: { type: Number },
  /** Grows while control planes run, so that a backup is known as one. */
  count: { type: Number },
  /** The time when a control plane last saw that the clock is right. */
  seenAt: { type: Date },
})

export type Installation = DocumentOf<typeof fields>
export const installationSchema = defineSchema(fields)
