import { intervals } from '../../common/calendar.ts'
import { type Entitlement, kinds, type LimitTerms } from '../../common/entitlements/model.ts'
import { type DocumentOf, defineFields, defineSchema, eventFields, part, workFields } from './schema.ts'

/** `http/routes/entitlement-input.ts` checks which of the optional fields a kind has, where bundles come in. */
export const entitlementPart = part({
  key: { type: String, required: true },
  kind: { type: String, enum: kinds, required: true },
  enabled: { type: Boolean },
  /** Null: unlimited. */
  limit: { type: Number, min: 0, nullable: true },
  per: { type: String, enum: intervals },
  /** Of a quota or capacity: a soft limit. Absent: hard. */
  overage: { type: String, enum: ['allow'] as const },
  /** Of a quota or capacity: shares of the limit, in percent, at which a warning is given. */
  warnAt: { type: [Number], default: undefined },
  value: { type: String },
})

export const pricingPart = part({
  amountMinor: { type: Number, required: true, min: 0 },
  currency: { type: String, required: true },
  interval: { type: String, enum: intervals, required: true },
  intervalCount: { type: Number, required: true, min: 1 },
})

/** The offer of a bundle. A subscription keeps its own copy, so a new version changes nobody's terms by itself. */
const offerFields = {
  pricing: { type: pricingPart, required: true },
  entitlements: { type: [entitlementPart], required: true },
  /** True: a payment that is refunded in full takes the access with it that it paid for. */
  refundEndsAccess: { type: Boolean, required: true, default: false },
} as const

/** The terms that a subscription agrees to: an offer, in a version, so many times. */
export const termsFields = {
  bundleId: { type: String, required: true },
  bundleVersion: { type: Number, required: true },
  /** Seats: the price and every quota and capacity count this many times. */
  quantity: { type: Number, required: true, min: 1, default: 1 },
  ...offerFields,
} as const

export const termsPart = part(termsFields)
export type Terms = DocumentOf<typeof termsFields>

const contentFields = {
  storefrontId: { type: String, required: true },
  id: { type: String, required: true },
  /** 1, 2, 3 …; what a version offers never changes. Its name is for people to read, and may. */
  version: { type: Number, required: true, min: 1 },
  name: { type: String, required: true },
  ...offerFields,
  trialDays: { type: Number, required: true, min: 0 },
} as const

const fields = defineFields({
  ...contentFields,
  /** True or absent: the bundle is on sale, in whichever version. Off sale, nobody new gets it, and whoever has it keeps it. */
  onSale: { type: Boolean },
  /** True: a customer may have only one subscription of it that is not over. Absent: no. */
  onePerCustomer: { type: Boolean },
  /** Counts what callers changed, with a new version or without: the ETag. Absent: the version. */
  edition: { type: Number },
  /** The latest version that every subscriber is moved to, and how far that has come. */
  rollout: {
    type: part({
      version: { type: Number, required: true },
      startedAt: { type: Date, required: true },
      finishedAt: { type: Date },
      /** Subscriptions that are on the version now because of it, and those looked at. */
      moved: { type: Number, required: true },
      seen: { type: Number, required: true },
      /** The place where the next batch begins. */
      cursor: { type: String },
    }),
  },
  repairAt: workFields.repairAt,
  ...eventFields,
})
export type Bundle = DocumentOf<typeof fields>
export type Pricing = Bundle['pricing']
export const bundleSchema = defineSchema(fields)
bundleSchema.index({ tenantId: 1, storefrontId: 1, createdAt: 1, _id: 1 })
bundleSchema.index({ repairAt: 1, _id: 1 })
bundleSchema.index({ outboxAt: 1, _id: 1 })

/** Versions that a bundle has left behind. Each is written before the bundle moves on, under an id derived from it. */
const versionFields = defineFields(contentFields)
export type BundleVersion = DocumentOf<typeof versionFields>
export const bundleVersionSchema = defineSchema(versionFields)
bundleVersionSchema.index({ tenantId: 1, storefrontId: 1, id: 1, createdAt: 1, _id: 1 })

/**
 * What kind an entitlement key is of, in its storefront: for all bundles and versions, since a customer's set holds one
 * answer to a key. Written before the bundle, or the grant by hand, that first has it, and never again.
 */
const kindFields = defineFields({
  storefrontId: { type: String, required: true },
  key: { type: String, required: true },
  kind: { type: String, enum: kinds, required: true },
  /** The bundle that had it first. Absent: a grant by hand had. */
  bundleId: { type: String },
})
export type EntitlementKind = DocumentOf<typeof kindFields>
export const entitlementKindSchema = defineSchema(kindFields)
entitlementKindSchema.index({ tenantId: 1, storefrontId: 1, createdAt: 1, _id: 1 })

const limitTermsOf = ({ overage, warnAt }: Bundle['entitlements'][number]): LimitTerms => ({
  ...(overage ? { overage } : {}),
  ...(warnAt && warnAt.length > 0 ? { warnAt } : {}),
})

/** A stored entitlement as the union that the rest of the code works with. */
export const toEntitlement = (stored: Bundle['entitlements'][number]): Entitlement => {
  const { key, kind } = stored
  switch (kind) {
    case 'flag':
      return { key, kind, enabled: stored.enabled ?? false }
    case 'quota':
      return { key, kind, limit: stored.limit ?? null, per: stored.per ?? 'month', ...limitTermsOf(stored) }
    case 'capacity':
      return { key, kind, limit: stored.limit ?? null, ...limitTermsOf(stored) }
    case 'value':
      return { key, kind, value: stored.value ?? '' }
    default:
      return kind satisfies never
  }
}
