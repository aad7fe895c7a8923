import { type DocumentOf, defineFields, defineSchema } from './schema.ts'

/** The progress of `npm run migrate` with one task: one document per task, of the platform. */
const fields = defineFields({
  name: { type: String, required: true },
  /** Documents up to this `_id` have been looked at. */
  after: { type: String },
  /** The number of documents that were rewritten. */
  rewritten: { type: Number, required: true, min: 0 },
  finishedAt: { type: Date },
})

export type MigrationRecord = DocumentOf<typeof fields>
export const migrationRecordSchema = defineSchema(fields)
migrationRecordSchema.index({ tenantId: 1, createdAt: 1, _id: 1 })
