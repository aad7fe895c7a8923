import { settlementKinds } from './payment.ts'
import { type DocumentOf, defineFields, defineSchema, eventFields, part } from './schema.ts'

export const reportStatuses = ['importing', 'done', 'failed'] as const

const total = part({
  currency: { type: String, required: true },
  grossMinor: { type: Number, required: true },
  feeMinor: { type: Number, required: true },
  netMinor: { type: Number, required: true },
})

/** A provider's account of what it has paid out. Matched lines are kept with their payments, differences on their own. */
const fields = defineFields({
  /** Chosen by the caller, for example the payout's. */
  id: { type: String, required: true },
  account: { type: String, required: true },
  status: { type: String, enum: reportStatuses, required: true },
  /** Why it failed. */
  why: { type: String },
  /** The payments that it should cover, by when they were made: those that it does not mention are differences. */
  from: { type: Date },
  to: { type: Date },
  lines: { type: Number, required: true, default: 0 },
  matched: { type: Number, required: true, default: 0 },
  differences: { type: Number, required: true, default: 0 },
  /** The sums of all lines, by currency. */
  totals: { type: [total], required: true },
  finishedAt: { type: Date },
  ...eventFields,
})

export type SettlementReport = DocumentOf<typeof fields>
export const settlementReportSchema = defineSchema(fields)
settlementReportSchema.index({ tenantId: 1, createdAt: 1, _id: 1 })
settlementReportSchema.index({ tenantId: 1, account: 1, createdAt: 1, _id: 1 })
settlementReportSchema.index({ outboxAt: 1, _id: 1 })

export const differenceKinds = [
  'malformed',
  'no_reference',
  'unknown_reference',
  'other_account',
  'not_succeeded',
  'amount_differs',
  'net_differs',
  'settled_twice',
  'missing',
] as const

/** A line that does not agree with our books, or a payment of ours that the report should have had. */
const differenceFields = defineFields({
  reportId: { type: String, required: true },
  /** The number of the report's line; absent for a payment that has none. */
  line: { type: Number },
  kind: { type: String, enum: differenceKinds, required: true },
  why: { type: String, required: true },
  type: { type: String, enum: settlementKinds },
  reference: { type: String },
  paymentId: { type: String },
})

export type SettlementDifference = DocumentOf<typeof differenceFields>
export const settlementDifferenceSchema = defineSchema(differenceFields)
settlementDifferenceSchema.index({ tenantId: 1, reportId: 1, createdAt: 1, _id: 1 })
