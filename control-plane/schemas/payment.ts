import { defined } from '../../common/defined.ts'
import { linePart } from './period.ts'
import { type DocumentOf, defineFields, defineSchema, eventFields, part, workFields } from './schema.ts'

export const paymentStatuses = ['due', 'processing', 'succeeded', 'failed', 'canceled'] as const
export type PaymentStatus = (typeof paymentStatuses)[number]

/**
 * `sent` is stored before the PSP is called: from then on money may have moved. `not_sent` is proof that it has
 * not. `unknown` (no answer) and `pending` (an answer that is not final) hold the payment until they are resolved.
 */
export const attemptStatuses = ['created', 'sent', 'requires_action', 'pending', 'authorized', 'succeeded', 'declined', 'not_sent', 'unknown'] as const
export type AttemptStatus = (typeof attemptStatuses)[number]

export const declineClasses = ['technical', 'issuer_soft', 'funds', 'action_required', 'credential', 'hard', 'config'] as const
export type DeclineClass = (typeof declineClasses)[number]

/** The networks that fine whoever tries a card too often. */
export const cardNetworks = ['visa', 'mastercard'] as const
export type CardNetwork = (typeof cardNetworks)[number]

/** Why an account was chosen; stored with each attempt so that it can be answered for ever. */
const why = part({
  /** The routing rule's name, `split`, `fallback`, or `renewal`, which stays with the account of the last payment. */
  rule: { type: String, required: true },
  /** The slot of the weighted split: hash(payment id) mod total weight. */
  slot: { type: Number },
  /** The split among the accounts that could take it: the slot counts through these. */
  split: { type: [part({ account: { type: String, required: true }, weight: { type: Number, required: true } })], default: undefined },
  /** The accounts that could take the payment, in the order of trying. */
  candidates: { type: [String], required: true },
  /** The accounts that could not, and why. */
  excluded: { type: [part({ account: { type: String, required: true }, reason: { type: String, required: true } })], required: true },
})

const resolution = part({ by: { type: String, required: true }, reason: { type: String, required: true }, at: { type: Date, required: true } })

const attemptFields = {
  /** Also the reference and the idempotency key that the PSP is given. */
  id: { type: String, required: true },
  account: { type: String, required: true },
  status: { type: String, enum: attemptStatuses, required: true },
  /** Attempts of one round are made one after another over several accounts; a new payment method begins a round. */
  round: { type: Number, required: true },
  /** The amount that it charges; absent: the payment's. An overdue payment may be of less when it is tried again. */
  amountMinor: { type: Number, min: 0 },
  paymentMethodId: { type: String, required: true },
  declineClass: { type: String, enum: declineClasses },
  /** The network of the card that was refused, where the PSP says it. */
  network: { type: String, enum: cardNetworks },
  /** The PSP's own words, for support. */
  pspCode: { type: String },
  pspReference: { type: String },
  actionUrl: { type: String },
  /** Answers to inquiries while the outcome is not final, and when to ask next. */
  inquiries: { type: Number, required: true, default: 0 },
  inquireAt: { type: Date },
  /** The time when the PSP was first asked to capture, or to release, what is authorized. */
  captureAskedAt: { type: Date },
  /**
   * It waited for the customer, and is not waited for any more. `sure`: the provider has let it go. Else money may still
   * arrive, which is asked about until `watchUntil` and given back where something else was paid meanwhile.
   */
  givenUp: { type: part({ at: { type: Date, required: true }, sure: { type: Boolean, required: true }, watchUntil: { type: Date } }) },
  /** An operator said what became of it. */
  resolution: { type: resolution },
  why: { type: why, required: true },
  at: { type: Date, required: true },
  resolvedAt: { type: Date },
} as const
const attempt = part(attemptFields)

/** The amounts that money which went back took from its subscription, wherever it lay. */
export const moneyBackFields = {
  /** The own bill of the period that it was taken off. */
  period: { type: Number, required: true },
  /** The part taken from what that period was paid with, and what the period is worth less for it. */
  paidMinor: { type: Number, required: true, default: 0 },
  worthMinor: { type: Number, required: true },
  /** The part taken from the credit, and from credit that a bill had taken. */
  creditMinor: { type: Number, required: true },
  /** The part taken from credit that another subscription has taken over. */
  movedMinor: { type: Number, required: true, default: 0 },
} as const
const moneyBack = part(moneyBackFields)

/** `not_wanted`: it arrived when what it paid for was off. */
export const refundReasons = ['not_wanted', 'paid_twice', 'requested'] as const

export const refundStatuses = ['due', 'pending', 'succeeded', 'failed'] as const

/** Money given back. The id is the PSP's idempotency key; `due` is stored before the PSP is called. */
const refund = part({
  id: { type: String, required: true },
  attemptId: { type: String, required: true },
  amountMinor: { type: Number, required: true, min: 1 },
  reason: { type: String, enum: refundReasons, required: true },
  /** `pending`: the PSP has accepted it, and may still refuse. */
  status: { type: String, enum: refundStatuses, required: true },
  /** The PSP's name for it, if the PSP gives one. */
  pspReference: { type: String },
  /** How often it was accepted and then refused: each time it is made anew under another reference. */
  tries: { type: Number },
  resolution: { type: resolution },
  /** The time since which it has been asked for under its present reference. Absent: since `at`. */
  askedAt: { type: Date },
  /** A try brought no answer, or a refusal of what is owed: when to try again. */
  tryAt: { type: Date },
  /** The PSP's own words about the last refusal. */
  pspCode: { type: String },
  /** Present while the subscription counts it as gone. */
  counted: { type: moneyBack },
  at: { type: Date, required: true },
})

export const disputeStatuses = ['open', 'won', 'lost'] as const

/** The customer's bank takes money back, or may. The id is the PSP's. */
const dispute = part({
  id: { type: String, required: true },
  attemptId: { type: String, required: true },
  status: { type: String, enum: disputeStatuses, required: true },
  amountMinor: { type: Number, required: true },
  currency: { type: String, required: true },
  reason: { type: String, required: true },
  respondBy: { type: Date },
  /** Present while the subscription counts it as gone. */
  counted: { type: moneyBack },
  openedAt: { type: Date, required: true },
  changedAt: { type: Date, required: true },
})

export const settlementKinds = ['charge', 'refund', 'dispute', 'fee', 'other'] as const

/** A line of a settlement report. Amounts are signed: what is added to the payout. */
const settlement = part({
  /** `<report>/<line>`. */
  id: { type: String, required: true },
  kind: { type: String, enum: settlementKinds, required: true },
  reference: { type: String, required: true },
  grossMinor: { type: Number, required: true },
  feeMinor: { type: Number, required: true },
  netMinor: { type: Number, required: true },
  /** The payout's currency: it may differ from the payment's. */
  currency: { type: String, required: true },
  settledAt: { type: Date },
})

/** The method of a payment that was made with a token alone: it belongs to no customer. */
const ownMethod = part({
  id: { type: String, required: true },
  type: { type: String, required: true },
  tokens: { type: [part({ account: { type: String, required: true }, token: { type: String, required: true } })], required: true },
})

const fields = defineFields({
  id: { type: String, required: true },
  storefrontId: { type: String, required: true },
  customerId: { type: String, required: true },
  /** Absent for a one-time payment. */
  subscriptionId: { type: String },
  /** The number of the subscription's bill that it pays. */
  seq: { type: Number },
  /** The period of the subscription that this pays for, or pays in. */
  period: { type: part({ start: { type: Date, required: true }, end: { type: Date, required: true } }) },
  lines: { type: [linePart], required: true },
  /** The part of the lines' sum that the customer's credit paid; below zero when it was added to. */
  creditMinor: { type: Number, required: true, default: 0 },
  /** The amount that is charged: the lines' sum less the credit. Nothing is charged for 0. */
  amountMinor: { type: Number, required: true, min: 0 },
  currency: { type: String, required: true },
  description: { type: String },
  paymentMethodId: { type: String },
  /** Kept while something may still be sent with it. Never answered. */
  ownMethod: { type: ownMethod },
  /** A renewal stays with the account that the last payment was made at. */
  stayWith: { type: String },
  status: { type: String, enum: paymentStatuses, required: true },
  round: { type: Number, required: true, default: 1 },
  /** True: the customer is there to act in this round. Absent: as before this was kept, in a first payment. */
  onSession: { type: Boolean },
  /** The page that they come back to; absent: the account's address. */
  returnUrl: { type: String },
  /** Ids of the last commands of a one-time payment, so that one that is repeated is not done again. */
  recentCommands: { type: [String], default: undefined },
  /** How long an attempt may wait for the customer. */
  actionHours: { type: Number },
  /** True: money that goes back is marked with what it took. Absent: made before that was kept. */
  countsMoneyBack: { type: Boolean },
  /** Why it failed without an attempt, where there was none to make. */
  failure: { type: String },
  attempts: { type: [attempt], required: true },
  /** The number of the oldest attempts that were dropped, of those that never left for a provider; their references are not given again. */
  attemptsLeftOut: { type: Number, min: 1 },
  refunds: { type: [refund], required: true },
  disputes: { type: [dispute], default: undefined },
  settlements: { type: [settlement], default: undefined },
  /** The subscription may not know the outcome yet, or of a refund. */
  effectsDue: { type: Boolean, required: true, default: false },
  /** Nothing is owed any more (the subscription ended): money that still arrives goes back. */
  abandoned: { type: Boolean, required: true, default: false },
  ...eventFields,
  ...workFields,
})

type Stored = DocumentOf<typeof fields>
type StoredAttempt = DocumentOf<typeof attemptFields>

/** A state of an attempt with what belongs to it alone. */
export type AttemptSituation =
  | { status: 'declined'; declineClass: DeclineClass; givenUp?: NonNullable<StoredAttempt['givenUp']>; actionUrl?: never }
  | { status: 'requires_action'; actionUrl?: string; declineClass?: never; givenUp?: never }
  | { status: Exclude<AttemptStatus, 'declined' | 'requires_action'>; declineClass?: never; givenUp?: never; actionUrl?: never }

type CommonOfAttempts = Omit<StoredAttempt, 'status' | 'declineClass' | 'givenUp' | 'actionUrl'>

export type Attempt = CommonOfAttempts & AttemptSituation
export type AttemptOutcome = Pick<Attempt, 'status' | 'declineClass'>
export type Payment = Omit<Stored, 'attempts'> & { attempts: Attempt[] }

const attemptFromStored = ({ status, declineClass, givenUp, actionUrl, ...common }: StoredAttempt): Attempt => {
  switch (status) {
    // All are stored with a class; one without is read as what an operator means who names none.
    case 'declined':
      return { ...common, ...defined({ status, declineClass: declineClass ?? ('technical' as const), givenUp }) }
    case 'requires_action':
      return { ...common, ...defined({ status, actionUrl }) }
    default:
      return { ...common, status }
  }
}

/** A document that was written under other rules becomes one of its state here. */
export const paymentFromStored = (stored: Stored): Payment => ({ ...stored, attempts: stored.attempts.map(attemptFromStored) })

export type Refund = Payment['refunds'][number]
export type Dispute = NonNullable<Payment['disputes']>[number]
export type Settlement = NonNullable<Payment['settlements']>[number]
export const paymentSchema = defineSchema(fields)
paymentSchema.index({ tenantId: 1, createdAt: 1, _id: 1 })
paymentSchema.index({ tenantId: 1, status: 1, createdAt: 1, _id: 1 })
paymentSchema.index({ tenantId: 1, subscriptionId: 1, createdAt: 1, _id: 1 })
paymentSchema.index({ tenantId: 1, storefrontId: 1, createdAt: 1, _id: 1 })
paymentSchema.index({ tenantId: 1, storefrontId: 1, customerId: 1, createdAt: 1, _id: 1 })
paymentSchema.index({ clock: 1, dueAt: 1, _id: 1 })
paymentSchema.index({ clock: 1, tenantId: 1, dueAt: 1, _id: 1 })
paymentSchema.index({ repairAt: 1, _id: 1 })
paymentSchema.index({ outboxAt: 1, _id: 1 })
