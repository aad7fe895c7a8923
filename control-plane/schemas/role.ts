import { type DocumentOf, defineFields, defineSchema } from './schema.ts'

/** A tenant's own role; the presets are in no document. */
const fields = defineFields({
  id: { type: String, required: true },
  name: { type: String, required: true },
  /** The permissions, of access/permissions.ts; one that a later version takes away permits nothing. */
  permissions: { type: [String], required: true },
})

export type Role = DocumentOf<typeof fields>
export const roleSchema = defineSchema(fields)
roleSchema.index({ tenantId: 1, createdAt: 1, _id: 1 })
