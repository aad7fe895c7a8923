import type { InferRawDocType } from 'mongoose'
import { defineFields, defineSchema, part, Schema, workFields } from './schema.ts'

const paymentMethod = part({
  id: { type: String, required: true },
  /** For example `card`, `bank_transfer`; what routing rules and PSP capabilities name. */
  type: { type: String, required: true },
  /** As printed on the card. */
  expiry: { type: part({ month: { type: Number, required: true, min: 1, max: 12 }, year: { type: Number, required: true } }) },
  /** A token is what one PSP account knows the method by. The account `*` stands for every account: a portable token. */
  tokens: { type: [part({ account: { type: String, required: true }, token: { type: String, required: true } })], required: true },
})

const fields = defineFields({
  storefrontId: { type: String, required: true },
  id: { type: String, required: true },
  email: { type: String },
  name: { type: String },
  /** ISO 3166-1 alpha-2. */
  country: { type: String },
  /** In the order of trying; the first is the default. */
  paymentMethods: { type: [paymentMethod], required: true },
  metadata: { type: Schema.Types.Mixed },
  repairAt: workFields.repairAt,
})

export type Customer = InferRawDocType<typeof fields>
export type PaymentMethod = Customer['paymentMethods'][number]
export const customerSchema = defineSchema(fields)
customerSchema.index({ tenantId: 1, storefrontId: 1, createdAt: 1, _id: 1 })
customerSchema.index({ repairAt: 1, _id: 1 })
