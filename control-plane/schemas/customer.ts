import { asItIs, type DocumentOf, defineFields, defineSchema, eventFields, part, workFields } from './schema.ts'

const paymentMethod = part({
  id: { type: String, required: true },
  /** The type, such as `card` or `bank_transfer`, which routing rules and PSP capabilities name. */
  type: { type: String, required: true },
  /** The expiry as printed on the card. */
  expiry: { type: part({ month: { type: Number, required: true, min: 1, max: 12 }, year: { type: Number, required: true } }) },
  /** A token is what one PSP account knows the method by. The account `*` stands for every account: a portable token. */
  tokens: { type: [part({ account: { type: String, required: true }, token: { type: String, required: true } })], required: true },
  /** The time when its tokens or its expiry were last changed: a refusal from before then says nothing of it any more. */
  changedAt: { type: Date },
})

/**
 * A change that is about to be written elsewhere and must not be overlooked meanwhile: a subscription that is being made, or
 * given a method. Every rule about a customer's subscriptions or methods is checked in the write that adds one, so that of two
 * callers at the same moment the second sees the first.
 */
const claim = part({
  subscriptionId: { type: String, required: true },
  bundleId: { type: String, required: true },
  /** The method that it is, or will be, paid with. */
  paymentMethodId: { type: String },
  /** The command that it is claimed for; absent for a subscription that is being made. */
  commandId: { type: String },
  /** It begins with a trial. */
  trial: { type: Boolean, required: true },
  at: { type: Date, required: true },
})

/** A method that was renewed: what could not be paid with it is tried again. */
const renewal = part({
  methodId: { type: String, required: true },
  /** The id of the commands that follow from it: repeated, they change nothing more. */
  commandId: { type: String, required: true },
})

const fields = defineFields({
  storefrontId: { type: String, required: true },
  id: { type: String, required: true },
  email: { type: String },
  name: { type: String },
  /** ISO 3166-1 alpha-2. */
  country: { type: String },
  /** The methods in the order of trying; the first is the default. */
  paymentMethods: { type: [paymentMethod], required: true },
  metadata: { type: asItIs<Record<string, string>>() },
  /** The latest, in system time. Bounded; a subscription that is stored is found without. */
  claims: { type: [claim], default: undefined },
  /** The methods whose subscriptions have not all been tried again yet. */
  renewed: { type: [renewal], default: undefined },
  /** It is being erased, and is called `as` where something of it is kept. Everything else of the customer is gone already. */
  erasing: { type: part({ as: { type: String, required: true }, at: { type: Date, required: true } }) },
  repairAt: workFields.repairAt,
  ...eventFields,
})

export type Customer = DocumentOf<typeof fields>
export type PaymentMethod = Customer['paymentMethods'][number]
export const customerSchema = defineSchema(fields)
customerSchema.index({ tenantId: 1, storefrontId: 1, createdAt: 1, _id: 1 })
customerSchema.index({ tenantId: 1, storefrontId: 1, email: 1, createdAt: 1, _id: 1 })
customerSchema.index({ repairAt: 1, _id: 1 })
customerSchema.index({ outboxAt: 1, _id: 1 })
