import { defined } from '../../common/defined.ts'
import { HOUR_MS } from '../../common/durations.ts'
import { pricingPart, termsFields, termsPart } from './bundle.ts'
import { disputeStatuses, moneyBackFields } from './payment.ts'
import { linePart, periodFields, periodPart } from './period.ts'
import { asItIs, type DocumentOf, defineFields, defineSchema, eventFields, part, workFields } from './schema.ts'
import { billingTermsPart } from './storefront.ts'

/** The states of design: access is on in trialing, active and past_due alone. */
export const subscriptionStatuses = [
  'scheduled',
  'incomplete',
  'trialing',
  'active',
  'past_due',
  'suspended',
  'paused',
  'canceled',
  'expired',
  'incomplete_expired',
] as const
export type SubscriptionStatus = (typeof subscriptionStatuses)[number]

export const endReasons = ['canceled', 'period_end', 'payment_not_made', 'unpaid', 'refunded', 'dispute'] as const

const pauseReasons = ['asked', 'no_payment_method', 'dispute'] as const

/** Money of one payment, wherever it is by now. */
const lot = part({ paymentId: { type: String, required: true }, amountMinor: { type: Number, required: true, min: 0 } })

/**
 * One obligation of the subscription, from when it arises to when its payment's outcome is in the subscription. It
 * holds all that the payment is made from, so that whoever repeats that step makes the same one.
 */
const bill = part({
  paymentId: { type: String, required: true },
  /** Counts the bills of the subscription. */
  seq: { type: Number, required: true },
  /** `change`: made in the middle of a period. */
  reason: { type: String, enum: ['period', 'change'], required: true },
  /** `open`: its payment decides. `settled`: there was nothing to pay by card, and it has taken effect. `dropped`: nobody wants it any more. */
  status: { type: String, enum: ['open', 'settled', 'dropped'], required: true },
  period: { type: periodPart, required: true },
  lines: { type: [linePart], required: true },
  /** Taken from the subscription's credit; below zero when the bill adds to it. */
  creditMinor: { type: Number, required: true },
  /** The lots that that credit came from. */
  creditFrom: { type: [lot], default: undefined },
  /** The part of that credit that went back to the customer since: it does not return with the bill. */
  creditGoneMinor: { type: Number },
  /** The amount by which what is carried to the next bill has grown with this one; below zero: shrunk. */
  carriedMinor: { type: Number },
  /** Left to pay: the lines' sum less the credit. */
  amountMinor: { type: Number, required: true, min: 0 },
  openedAt: { type: Date, required: true },
  /** The price of the whole period on these terms: this is credited pro rata if it is left early. */
  creditableMinor: { type: Number, required: true },
  /** The price that it was made at, where another may be agreed for the next period before it is paid. */
  pricing: { type: pricingPart },
  /** The round of attempts that is asked for, and the last one that is known to have failed. */
  round: { type: Number, required: true },
  failedRound: { type: Number, required: true },
  /** The customer is there: the round that is asked for may ask them to act. */
  onSession: { type: Boolean },
  /** The page that they come back to then; absent: the account's address. */
  returnUrl: { type: String },
  /** Time without access is left out of its lines up to here. */
  leftOutUntil: { type: Date },
  /** The time when its payment failed for the first time: retries are counted from it. */
  failedAt: { type: Date },
  /** The terms that it pays for, where they are not the subscription's own yet. */
  terms: { type: termsPart },
  /** The anchor from then on, where it is another. */
  anchor: { type: Date },
})

const moneyBackPart = part({ id: { type: String, required: true }, ...moneyBackFields })

const event = part({
  seq: { type: Number, required: true },
  at: { type: Date, required: true },
  type: { type: String, required: true },
  /** The reason, in a sentence, for the person who asks why. */
  why: { type: String, required: true },
  paymentId: { type: String },
  amountMinor: { type: Number },
})

const fields = defineFields({
  id: { type: String, required: true },
  storefrontId: { type: String, required: true },
  customerId: { type: String, required: true },
  /** The terms as agreed. */
  ...termsFields,
  /** Other terms that take over when the current period ends. */
  scheduledChange: { type: termsPart },
  status: { type: String, enum: subscriptionStatuses, required: true },
  /** The time that every period is counted from, in `timeZone`. */
  anchor: { type: Date, required: true },
  /** Periods begin on this day of the month (31: the last), or of the week (1: Monday). Absent: on the anchor's. */
  billingDay: { type: Number, min: 1, max: 31 },
  timeZone: { type: String, required: true },
  /** The time that the periods of quotas were counted from before any pause. Absent: the anchor. */
  quotaAnchor: { type: Date },
  /** The pauses of the service that are over, oldest first: each has moved the allowances that ran when it began. */
  pauses: { type: [part({ from: { type: Date, required: true }, to: { type: Date, required: true } })], default: undefined },
  currentPeriod: {
    type: part({
      ...periodFields,
      /** The bill that began the period. */
      ownBill: { type: Number, required: true },
      /** Money of bills from this one on is in the period: its own, and what was credited to it. */
      firstBill: { type: Number, required: true },
      /** The amount that is credited pro rata if the period is left early: the price of a whole one, less refunds. */
      creditableMinor: { type: Number, required: true },
      /** The lots that it was paid with; absent in periods from before this was kept. */
      paidFrom: { type: [lot], default: undefined },
      /** The price that was agreed for it, where another is agreed for the next by now. */
      pricing: { type: pricingPart },
      /** Refunds that were taken off it, and what each took: only in periods of before `moneyBack` was kept. */
      refunds: { type: [String], required: true },
      refundsTook: {
        type: [
          part({
            refundId: { type: String, required: true },
            creditableMinor: { type: Number, required: true },
            creditMinor: { type: Number, required: true },
          }),
        ],
        default: undefined,
      },
    }),
    required: true,
  },
  /** The time when access began for the first time. Absent while it never has. */
  accessFrom: { type: Date },
  trialEnd: { type: Date },
  /** The end of a trial or period that was told of ahead of time. One that has moved since is told of again. */
  announcedEnd: { type: Date },
  /** When the next one is told of, in the tenant's time. A version that knows no notices leaves it alone. */
  noticeAt: { type: Date },
  /** The bundle whose trial it has, since the terms may change in the trial. Absent: that of the terms. */
  trialBundleId: { type: String },
  /** The storefront's rules of billing at the time of agreement. */
  billing: { type: billingTermsPart, required: true },
  /** Periods that were over before the subscription was made are billed too. */
  billMissed: { type: Boolean, required: true, default: false },
  /** The time when an overdue subscription loses its access. */
  graceUntil: { type: Date },
  /** The time when an overdue payment is tried again, or given up if there is no further try. */
  retryAt: { type: Date },
  /** The time since which a suspended subscription has had no access: it is not billed. */
  suspendedAt: { type: Date },
  /** Such times that are over, and that periods still to be billed may lie in. */
  offSpans: { type: [part({ from: { type: Date, required: true }, to: { type: Date, required: true } })], default: undefined },
  /** The end of such a time, as documents of before `offSpans` have it beside `suspendedAt`. */
  resumedAt: { type: Date },
  pausedAt: { type: Date },
  pauseReason: { type: String, enum: pauseReasons },
  /** The time when a pause ends by itself. */
  resumeAt: { type: Date },
  /** Service goes on and nothing is charged. */
  collectionPausedAt: { type: Date },
  /** An `incomplete` subscription that is not paid by then expires. */
  payBy: { type: Date },
  paymentMethodId: { type: String },
  /** Owed to the customer, and used before the card is. */
  creditMinor: { type: Number, required: true, min: 0, default: 0 },
  /** The lots that the credit came from, the oldest first. The rest is from before this was kept. */
  creditFrom: { type: [lot], default: undefined },
  /** Owed by the customer, and too little for a charge of its own: it comes with the next bill. */
  carriedMinor: { type: Number, min: 0 },
  /** The amounts that can be charged, as the storefront's accounts were when the last bill was made. */
  chargeLimits: { type: part({ stepMinor: { type: Number, required: true }, smallestMinor: { type: Number, required: true } }) },
  /**
   * Money that went back (a refund, or a dispute that was lost), and what it took of the current period's worth and of the
   * credit. The payment keeps the same; here are the latest.
   */
  moneyBack: { type: [moneyBackPart], default: undefined },
  /** The part of it that was taken back, since it had been refunded. */
  creditRefundedMinor: { type: Number, required: true, default: 0 },
  /** Credit of one that has ended, and that its customer's next subscription took over. In system time. */
  creditMovedTo: {
    type: [
      part({
        subscriptionId: { type: String, required: true },
        amountMinor: { type: Number, required: true },
        creditFrom: { type: [lot], required: true },
        /** The part of it that went back to the customer since, in all: the other subscription takes it off what it has. */
        recalledMinor: { type: Number, required: true, default: 0 },
        at: { type: Date, required: true },
      }),
    ],
    default: undefined,
  },
  /** Credit that was taken over from subscriptions of the customer that had ended, and how much of it was recalled so far. */
  inherited: {
    type: [
      part({
        subscriptionId: { type: String, required: true },
        amountMinor: { type: Number, required: true },
        recalledMinor: { type: Number, required: true },
      }),
    ],
    default: undefined,
  },
  /** True: credit that was taken over may have been recalled before this subscription was there to be told. */
  inheritanceUnchecked: { type: Boolean },
  /** The part of it that did not come from a bill: for time without access, what was left when it was canceled, or another subscription's. */
  creditGivenMinor: { type: Number },
  billsMade: { type: Number, required: true, default: 0 },
  /** Bounded: one of the period, one of a change, and those dropped until their payments know. */
  bills: { type: [bill], required: true },
  /** The latest disputes of its payments that this subscription has reacted to. */
  disputes: { type: [part({ id: { type: String, required: true }, status: { type: String, enum: disputeStatuses, required: true } })], default: undefined },
  /** The account that its last payment was made at: renewals stay there. */
  paidAt: { type: String },
  cancelAtPeriodEnd: { type: Boolean, required: true, default: false },
  endedAt: { type: Date },
  endReason: { type: String, enum: endReasons },
  metadata: { type: asItIs<Record<string, string>>() },
  /** The latest events; older ones are in chunks of their own. */
  events: { type: [event], required: true },
  eventsMade: { type: Number, required: true, default: 0 },
  /** Ids of the last commands, so that one that is repeated is not done again. */
  recentCommands: { type: [String], required: true },
  ...eventFields,
  ...workFields,
})

type Stored = DocumentOf<typeof fields>

interface Ended {
  endedAt: Date
  endReason: (typeof endReasons)[number]
}

/** The fields that belong to a state; everything else is common to all. */
interface Holdings {
  scheduled: object
  incomplete: { payBy: Date }
  trialing: { retryAt?: Date }
  active: { retryAt?: Date }
  past_due: { graceUntil: Date; retryAt?: Date }
  suspended: { suspendedAt: Date; retryAt?: Date }
  paused: { pausedAt: Date; pauseReason: (typeof pauseReasons)[number]; resumeAt?: Date }
  canceled: Ended
  expired: Ended
  incomplete_expired: Ended
}

const holdings = ['payBy', 'retryAt', 'graceUntil', 'suspendedAt', 'pausedAt', 'pauseReason', 'resumeAt', 'endedAt', 'endReason'] as const
type Holding = (typeof holdings)[number]

/** A state with what belongs to it, and with nothing that belongs to others alone. */
export type Situation = {
  [S in SubscriptionStatus]: { status: S } & Holdings[S] & { [H in Exclude<Holding, keyof Holdings[S]>]?: never }
}[SubscriptionStatus]

type Common = Omit<Stored, 'status' | 'resumedAt' | Holding>

/** Stored as it is: the parts of its situation lie beside the others. */
export type Subscription = Common & Situation
export type PausedSubscription = Extract<Subscription, { status: 'paused' }>

/** A change of what all states have; what is undefined is taken away. */
export type Change = { [K in keyof Common]?: object extends Pick<Common, K> ? Common[K] | undefined : Common[K] }

const situational: ReadonlySet<PropertyKey> = new Set(['status', 'resumedAt', ...holdings])

/** The subscription in another situation. What belonged to the one before is gone; what a newer version has written stays. */
export const inSituation = (subscription: Common, situation: Situation): Subscription => {
  const next: Record<PropertyKey, unknown> = {}
  for (const field of Reflect.ownKeys(subscription)) if (!situational.has(field)) next[field] = subscription[field as keyof Common]
  return Object.assign(next, situation) as unknown as Subscription
}

const hoursAfter = (at: Date, hours: number): Date => new Date(at.getTime() + hours * HOUR_MS)

/** A document from before lacks the time of its state, which is then taken from its last write: by then at the latest it had come to be as it is. */
const situationOf = (stored: Stored): Situation => {
  const { status, billing, updatedAt, retryAt, resumeAt } = stored
  const { endedAt = updatedAt, pausedAt = updatedAt, suspendedAt = updatedAt, pauseReason = 'asked' } = stored
  switch (status) {
    case 'scheduled':
      return { status }
    case 'incomplete':
      return { status, payBy: stored.payBy ?? hoursAfter(updatedAt, billing.firstPaymentHours) }
    case 'trialing':
    case 'active':
      return defined({ status, retryAt })
    case 'past_due':
      return defined({ status, graceUntil: stored.graceUntil ?? hoursAfter(updatedAt, billing.graceHours), retryAt })
    case 'suspended':
      return defined({ status, suspendedAt, retryAt })
    case 'paused':
      return defined({ status, pausedAt, pauseReason, resumeAt })
    case 'canceled':
    case 'expired':
      return { status, endedAt, endReason: stored.endReason ?? 'canceled' }
    case 'incomplete_expired':
      return { status, endedAt, endReason: stored.endReason ?? 'payment_not_made' }
    default:
      return status satisfies never
  }
}

/** Time without access that is over, as documents of before several were kept have it: as a pair of dates. */
const withOffSpans = (stored: Stored): Stored => {
  const { suspendedAt, resumedAt, offSpans = [], ...kept } = stored
  return suspendedAt && resumedAt ? { ...kept, offSpans: [{ from: suspendedAt, to: resumedAt }, ...offSpans] } : stored
}

/** A document that was written under other rules becomes one of its state here. */
export const subscriptionFromStored = (stored: Stored): Subscription => {
  const known = withOffSpans(stored)
  return inSituation(known, situationOf(known))
}

export type Bill = Subscription['bills'][number]
export type SubscriptionEvent = Subscription['events'][number]
export const subscriptionSchema = defineSchema(fields)
subscriptionSchema.index({ tenantId: 1, createdAt: 1, _id: 1 })
subscriptionSchema.index({ tenantId: 1, status: 1, createdAt: 1, _id: 1 })
subscriptionSchema.index({ tenantId: 1, storefrontId: 1, createdAt: 1, _id: 1 })
subscriptionSchema.index({ tenantId: 1, storefrontId: 1, status: 1, createdAt: 1, _id: 1 })
subscriptionSchema.index({ tenantId: 1, storefrontId: 1, customerId: 1, createdAt: 1, _id: 1 })
subscriptionSchema.index({ tenantId: 1, storefrontId: 1, customerId: 1, status: 1, createdAt: 1, _id: 1 })
subscriptionSchema.index({ tenantId: 1, storefrontId: 1, bundleId: 1, createdAt: 1, _id: 1 })
subscriptionSchema.index({ tenantId: 1, storefrontId: 1, bundleId: 1, status: 1, createdAt: 1, _id: 1 })
subscriptionSchema.index({ clock: 1, dueAt: 1, _id: 1 })
subscriptionSchema.index({ clock: 1, tenantId: 1, dueAt: 1, _id: 1 })
subscriptionSchema.index({ clock: 1, noticeAt: 1, _id: 1 })
subscriptionSchema.index({ repairAt: 1, _id: 1 })
subscriptionSchema.index({ outboxAt: 1, _id: 1 })

/** Events that a subscription has handed on, a chunk at a time. */
const chunkFields = defineFields({
  subscriptionId: { type: String, required: true },
  events: { type: [event], required: true },
})
export type EventChunk = DocumentOf<typeof chunkFields>
export const eventChunkSchema = defineSchema(chunkFields)
eventChunkSchema.index({ tenantId: 1, subscriptionId: 1, createdAt: 1, _id: 1 })
