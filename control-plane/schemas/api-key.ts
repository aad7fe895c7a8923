import { type DocumentOf, defineFields, defineSchema } from './schema.ts'

const fields = defineFields({
  id: { type: String, required: true },
  /** `platform`, a preset (access/permissions.ts), or the id of a role of the tenant. */
  role: { type: String, required: true },
  /** The storefronts that the key is limited to. Absent: it is not limited. */
  storefronts: { type: [String], default: undefined },
  /** SHA-256 of the secret, which is 256 random bits: no slow hash is needed, and none could be afforded on every request. */
  secretHash: { type: String, required: true },
  /** The purpose of the key, in its maker's words. */
  name: { type: String },
  /** The beginning of the secret, by which its owner knows it again. Absent: it was made before this was kept. */
  hint: { type: String },
  expiresAt: { type: Date },
  /** The last use, to the hour. */
  lastUsedAt: { type: Date },
  revokedAt: { type: Date },
})

export type ApiKey = DocumentOf<typeof fields>
export const apiKeySchema = defineSchema(fields)
apiKeySchema.index({ secretHash: 1 }, { unique: true })
apiKeySchema.index({ tenantId: 1, createdAt: 1, _id: 1 })
