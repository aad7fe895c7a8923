import { type DocumentOf, defineFields, defineSchema, part } from './schema.ts'

/** The day of a change belongs to the new plan, or its second does. */
export const prorations = ['day', 'second'] as const

export const disputeEffects = ['nothing', 'pause', 'cancel'] as const

/** The number of free trials per customer: one of anything in the storefront, one of each bundle, or one per subscription. */
export const trialRules = ['customer', 'bundle', 'none'] as const
export type TrialRule = (typeof trialRules)[number]

/** How many days ahead a trial's end and a renewal are told, where the rules do not say. */
export const defaultNotices = { trialNoticeDays: 3, renewalNoticeDays: 7 } as const

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

/** The billing rules of subscriptions; each keeps those that it was made under. */
const billingTermsFields = {
  /** How long an overdue subscription keeps its access. Its own clock, independent of any retry of the payment. */
  graceHours: { type: Number, required: true, min: 0 },
  /** The times at which a failed renewal is tried again, counted from its first failure. After the last the subscription is canceled. */
  retryHours: { type: [Number], required: true },
  /** How long a first payment may take. */
  firstPaymentHours: { type: Number, required: true, min: 1 },
  proration: { type: String, enum: prorations, required: true },
  /** How long an attempt may wait for the customer to act. Absent: 23. */
  actionHours: { type: Number, min: 1 },
  /** Card networks fine for more: attempts of one payment that reached one, over all PSPs, in any span of 24 hours. Absent: 10. */
  maxAttemptsPerDay: { type: Number, min: 1 },
  /** The same, in any such span of days. */
  maxAttempts: { type: Number, required: true, min: 1 },
  maxAttemptsDays: { type: Number, required: true, min: 1 },
  /** True: a renewal that is refused is tried with the customer's other payment methods. Absent: no. */
  tryOtherMethods: { type: Boolean },
  /** The effect that a dispute of any payment of a subscription has on its access when it opens, and when it is lost. */
  onDispute: { type: String, enum: disputeEffects },
  onDisputeLost: { type: String, enum: disputeEffects },
  /** Absent: bundle. The storefront's present rule decides when a subscription is made; a subscription's copy decides nothing. */
  trialOncePer: { type: String, enum: trialRules },
  /** How many days before a trial's end its notice is told. 0: it is not. Absent: as in `defaultNotices`. */
  trialNoticeDays: { type: Number, min: 0 },
  /** The same of a renewal, before its charge. */
  renewalNoticeDays: { type: Number, min: 0 },
} as const
export const billingTermsPart = part(billingTermsFields)
export type BillingTerms = DocumentOf<typeof billingTermsFields>

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
  billing: { type: billingTermsPart, required: true },
})

export type Storefront = DocumentOf<typeof fields>
export type Routing = Storefront['routing']
export const storefrontSchema = defineSchema(fields)
storefrontSchema.index({ tenantId: 1, createdAt: 1, _id: 1 })
