import { type DocumentOf, defineFields, defineSchema, part, workFields } from './schema.ts'

/**
 * The memory of a customer that was erased, under a hash of its key: should the same id be made again, the revisions of its
 * sets go on growing.
 */
const fields = defineFields({
  lastRevision: { type: Number, required: true },
  /** The trace in the feed, until the feed has forgotten it too: sidecars that were away hear of the removal meanwhile. */
  inFeed: { type: part({ storefrontId: { type: String, required: true }, customerId: { type: String, required: true } }) },
  repairAt: workFields.repairAt,
})

export type Tombstone = DocumentOf<typeof fields>
export const tombstoneSchema = defineSchema(fields)
tombstoneSchema.index({ repairAt: 1, _id: 1 })
