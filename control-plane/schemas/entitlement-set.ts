import { intervals } from '../../common/calendar.ts'
import type { Grant, Usage } from '../../common/entitlements/model.ts'
import { asItIs, type DocumentOf, defineFields, defineSchema, eventFields, part } from './schema.ts'

/**
 * The set a customer's sidecars have, or are about to have. The document is written only when the set changes: its
 * revision, counted on from `after`, is the revision of the set.
 */
const fields = defineFields({
  storefrontId: { type: String, required: true },
  customerId: { type: String, required: true },
  sandbox: { type: Boolean, required: true },
  /** Derived, so it is stored as it is. */
  grants: { type: asItIs<Grant[]>(), required: true },
  usage: { type: asItIs<Usage[]>(), required: true },
  /** The `seq` of the counters that `usage` is from. Absent: it is not known. */
  usageSeq: { type: Number, min: 0 },
  /** Ids of subscriptions, as `Derived` has them. Absent: the set was stored before they were noted. */
  hidden: { type: [String], default: undefined },
  /** The last revision of a customer of this id that was erased. Absent: there was none. */
  after: { type: Number },
  /** When it was derived, in the tenant's time. Absent: stored before that was kept. */
  derivedAt: { type: Date },
  ...eventFields,
})

export type StoredEntitlementSet = DocumentOf<typeof fields>
export const entitlementSetSchema = defineSchema(fields)
entitlementSetSchema.index({ tenantId: 1, createdAt: 1, _id: 1 })
entitlementSetSchema.index({ createdAt: 1, _id: 1 })
entitlementSetSchema.index({ outboxAt: 1, _id: 1 })

/** A report that was counted, by a hash of its id. */
export interface CountedId {
  id: string
  /** A hash of what it said, where a repeat has to say the same. */
  says?: string
  atMs: number
}

/** A customer's use of quotas and capacities, as reported by applications. */
const usageFields = defineFields({
  storefrontId: { type: String, required: true },
  customerId: { type: String, required: true },
  entries: {
    type: [
      part({
        key: { type: String, required: true },
        used: { type: Number, required: true, min: 0 },
        /** Of a quota: the subscription, or the grant by hand, whose allowance it is taken from. Absent: counted before that was told apart. */
        subscriptionId: { type: String },
        /** For a quota: how long its periods were when it was counted. A key that is sold by the day counts anew, and by the month goes on. */
        per: { type: String, enum: intervals },
        /** For a quota: when that allowance ended, as it was last counted; and when that was. */
        until: { type: Date },
        at: { type: Date },
      }),
    ],
    required: true,
  },
  /** Who has been lent units of a quota, to spend without asking: they count as used in `entries` (`metering/ledger.ts`). */
  borrowers: {
    type: [
      part({
        key: { type: String, required: true },
        /** A process of a sidecar. */
        sidecar: { type: String, required: true },
        /** The last question that it was answered. */
        seq: { type: Number, required: true, min: 0 },
        /** When that was, by the system's clock. */
        seenAt: { type: Date, required: true },
        /** It was refused what others may give back: until then they are told to. */
        waitsUntil: { type: Date },
        /** The last of its later uses that is counted. Absent: it never had any. */
        laterUses: { type: Number, min: 0 },
        leases: {
          type: [
            part({
              id: { type: String, required: true },
              subscriptionId: { type: String, required: true },
              per: { type: String, enum: intervals, required: true },
              /** In all, since the lease began; less what was given back. */
              lent: { type: Number, required: true, min: 0 },
              spent: { type: Number, required: true, min: 0 },
              /** When it began, and when its window ends, in the tenant's time. */
              lentAt: { type: Date, required: true },
              until: { type: Date, required: true },
            }),
          ],
          required: true,
        },
      }),
    ],
    default: undefined,
  },
  /** Who occupies places of a capacity: they count in `entries` (`metering/holders.ts`). */
  holders: {
    type: [
      part({
        key: { type: String, required: true },
        holder: { type: String, required: true },
        amount: { type: Number, required: true, min: 1 },
        /** In the tenant's time; after `until` it occupies nothing. */
        since: { type: Date, required: true },
        until: { type: Date },
      }),
    ],
    default: undefined,
  },
  /** Shares of limits that were reached, and limits that were passed, the oldest first (`metering/warnings.ts`). */
  warned: {
    type: [
      part({
        key: { type: String, required: true },
        type: { type: String, enum: ['threshold', 'over_limit'] as const, required: true },
        /** In percent of the limit. */
        share: { type: Number, required: true, min: 1 },
        /** In the tenant's time. */
        at: { type: Date, required: true },
        used: { type: Number, required: true, min: 0 },
        limit: { type: Number, required: true, min: 0 },
        /** Of a quota: the end of the window. */
        until: { type: Date },
        /** Of a capacity: less is used again since. */
        over: { type: Boolean },
      }),
    ],
    default: undefined,
  },
  /** Higher with each write than in all writes before, also of counters of this customer that were removed. */
  seq: { type: Number, min: 0 },
  /** The last reports counted, so that a repeated one is not counted twice. */
  recentReports: { type: [String], required: true },
  /** Reports and events with an id of their own that were counted within a day; others may be in `countedReports`. */
  counted: { type: asItIs<CountedId[]>() },
  /** Until when there may be such ids in `countedReports`. Absent: there are none. */
  countedElsewhereUntil: { type: Date },
  /** What was used when, until it is moved to `usageMonths` (`metering/history.ts`). */
  pending: {
    type: [
      part({
        key: { type: String, required: true },
        hour: { type: Date, required: true },
        units: { type: Number, required: true },
        /** As `pendingSeq` was. */
        seq: { type: Number, required: true },
      }),
    ],
    default: undefined,
  },
  /** What is noted now has this number; what has a lower one does not change any more. It only grows. */
  pendingSeq: { type: Number },
  /** System time from which what is pending is moved. Absent: nothing is. */
  moveAt: { type: Date },
  repairAt: { type: Date },
  ...eventFields,
})

export type UsageCounters = DocumentOf<typeof usageFields>
export const usageCountersSchema = defineSchema(usageFields)
usageCountersSchema.index({ repairAt: 1, _id: 1 })
usageCountersSchema.index({ outboxAt: 1, _id: 1 })
