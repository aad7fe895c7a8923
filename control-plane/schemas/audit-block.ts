import { type DocumentOf, defineFields, defineSchema } from './schema.ts'

/**
 * Entries of a tenant's audit log that were written together. Blocks are never changed: each names the hash of the one before
 * it, so that one that is changed, taken out or put in between shows. `createdAt` rises from block to block.
 */
const fields = defineFields({
  /** 1 for the tenant's first. */
  seq: { type: Number, required: true, min: 1 },
  /** The hash of the block before; empty for the first. */
  previous: { type: String, default: '' },
  /** The time at which the block before expires: until then it has to be there. */
  previousExpiresAt: { type: Date },
  /** A JSON array of `AuditEntry`, as text: what was hashed. */
  entries: { type: String, required: true },
  hash: { type: String, required: true },
  expiresAt: { type: Date, required: true },
})

export type AuditBlock = DocumentOf<typeof fields>
export const auditBlockSchema = defineSchema(fields)
auditBlockSchema.index({ tenantId: 1, createdAt: 1, _id: 1 })
auditBlockSchema.index({ expiresAt: 1, _id: 1 })
