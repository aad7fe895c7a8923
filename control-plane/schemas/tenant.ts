import { asItIs, type DocumentOf, defineFields, defineSchema, part } from './schema.ts'

export const tenantModes = ['live', 'sandbox'] as const

const fields = defineFields({
  name: { type: String, required: true },
  mode: { type: String, enum: tenantModes, required: true },
  /** Sandbox only: the tenant's own time. It stands still until it is moved. */
  testNow: { type: Date },
  /** The documents that the creation of the tenant has still to write; removed when they are written. Secrets only as hashes. */
  setup: {
    type: part({
      /** `StorefrontInput[]` of catalog/storefronts.ts. */
      storefronts: { type: asItIs<unknown[]>(), required: true },
      apiKey: { type: part({ id: { type: String, required: true }, secretHash: { type: String, required: true }, hint: { type: String } }), required: true },
    }),
  },
  /** The time when somebody ended it: no call about it begins any more. */
  ending: { type: Date },
  /** The time when nothing of it was left. */
  ended: { type: Date },
  /** The test clock has been moved and the feed may not know; or it is being ended. */
  repairAt: { type: Date },
})

export type Tenant = DocumentOf<typeof fields>
export const tenantSchema = defineSchema(fields)
tenantSchema.index({ createdAt: 1, _id: 1 })
tenantSchema.index({ repairAt: 1, _id: 1 })
