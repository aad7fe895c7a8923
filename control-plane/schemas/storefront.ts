import type { InferRawDocType } from 'mongoose'
import { defineFields, defineSchema, part } from './schema.ts'

const rule = part({
  name: { type: String, required: true },
  when: {
    type: part({
      paymentMethodTypes: { type: [String], default: undefined },
      countries: { type: [String], default: undefined },
      currencies: { type: [String], default: undefined },
      minAmount: { type: Number },
      maxAmount: { type: Number },
    }),
    required: true,
  },
  use: { type: [String], required: true },
})

const fields = defineFields({
  id: { type: String, required: true },
  name: { type: String, required: true },
  region: { type: String },
  currency: { type: String, required: true },
  timeZone: { type: String, required: true },
  routing: {
    type: part({
      split: { type: [part({ account: { type: String, required: true }, weight: { type: Number, required: true, min: 1 } })], required: true },
      fallback: { type: [String], required: true },
      rules: { type: [rule], required: true },
    }),
    required: true,
  },
  billing: {
    type: part({
      /** How long an overdue subscription keeps its access. Its own clock, independent of any retry of the payment. */
      graceHours: { type: Number, required: true, min: 0 },
    }),
    required: true,
  },
})

export type Storefront = InferRawDocType<typeof fields>
export type Routing = Storefront['routing']
export const storefrontSchema = defineSchema(fields)
storefrontSchema.index({ tenantId: 1, createdAt: 1, _id: 1 })
