import type { InferRawDocType } from 'mongoose'
import { intervals } from '../../common/calendar.ts'
import { type Entitlement, kinds } from '../../common/entitlements/model.ts'
import { defineFields, defineSchema, part } from './schema.ts'

/** Which of the optional fields a kind has is checked where bundles come in, in `catalog/entitlement-input.ts`. */
const entitlement = part({
  key: { type: String, required: true },
  kind: { type: String, enum: kinds, required: true },
  enabled: { type: Boolean },
  /** Null: unlimited. */
  limit: { type: Number, min: 0 },
  per: { type: String, enum: intervals },
  value: { type: String },
})

const pricing = part({
  amountMinor: { type: Number, required: true, min: 0 },
  currency: { type: String, required: true },
  interval: { type: String, enum: intervals, required: true },
  intervalCount: { type: Number, required: true, min: 1 },
})

/** What a subscription agrees to. A subscription keeps its own copy, so a new version changes nobody's terms. */
export const termsFields = {
  pricing: { type: pricing, required: true },
  entitlements: { type: [entitlement], required: true },
} as const

const contentFields = {
  storefrontId: { type: String, required: true },
  id: { type: String, required: true },
  /** 1, 2, 3 …; a version's content never changes. */
  version: { type: Number, required: true, min: 1 },
  name: { type: String, required: true },
  ...termsFields,
  trialDays: { type: Number, required: true, min: 0 },
} as const

const fields = defineFields(contentFields)
export type Bundle = InferRawDocType<typeof fields>
export type Pricing = Bundle['pricing']
export const bundleSchema = defineSchema(fields)
bundleSchema.index({ tenantId: 1, storefrontId: 1, createdAt: 1, _id: 1 })

/** Versions that a bundle has left behind. Each is written before the bundle moves on, under an id derived from it. */
export type BundleVersion = Bundle
export const bundleVersionSchema = defineSchema(fields)
bundleVersionSchema.index({ tenantId: 1, storefrontId: 1, id: 1, createdAt: 1, _id: 1 })

/** A stored entitlement as the union that the rest of the code works with. */
export const toEntitlement = (stored: Bundle['entitlements'][number]): Entitlement => {
  const { key, kind } = stored
  switch (kind) {
    case 'flag':
      return { key, kind, enabled: stored.enabled ?? false }
    case 'quota':
      return { key, kind, limit: stored.limit ?? null, per: stored.per ?? 'month' }
    case 'capacity':
      return { key, kind, limit: stored.limit ?? null }
    case 'value':
      return { key, kind, value: stored.value ?? '' }
    default:
      return kind satisfies never
  }
}
