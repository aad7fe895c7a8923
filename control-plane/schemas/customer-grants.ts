import { grantModes, grantSources } from '../../common/entitlements/model.ts'
import { entitlementPart } from './bundle.ts'
import { type DocumentOf, defineFields, defineSchema, part, workFields } from './schema.ts'

/** One grant. It never changes: it is given, and may be taken back. */
const grant = part({
  id: { type: String, required: true },
  /** Whoever gives grants from another system names them by its ids. */
  externalId: { type: String },
  source: { type: String, enum: grantSources, required: true },
  /** Absent: it adds. */
  mode: { type: String, enum: grantModes },
  reason: { type: String, required: true },
  entitlements: { type: [entitlementPart], required: true },
  from: { type: Date, required: true },
  /** Absent: no end. */
  until: { type: Date },
  /** The storefront's when it was given: its quotas count in periods of it, from `from` on. */
  timeZone: { type: String, required: true },
  createdAt: { type: Date, required: true },
})

/** What a customer has been given by hand: one document, so that every rule about its grants is decided in the write that adds one. */
const fields = defineFields({
  storefrontId: { type: String, required: true },
  customerId: { type: String, required: true },
  /** Those that had not ended at the last write. */
  living: { type: [grant], required: true },
  /** Those that had, the latest end first. Bounded; who gave and took what is in the audit log. */
  ended: { type: [grant], required: true },
  repairAt: workFields.repairAt,
})

export type CustomerGrants = DocumentOf<typeof fields>
export type GrantByHand = CustomerGrants['living'][number]
export const customerGrantsSchema = defineSchema(fields)
customerGrantsSchema.index({ repairAt: 1, _id: 1 })
