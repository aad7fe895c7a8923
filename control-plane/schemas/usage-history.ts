import { type DocumentOf, defineFields, defineSchema } from './schema.ts'

/** What a customer used of one entitlement in one month of UTC, by the hour. */
const monthFields = defineFields({
  storefrontId: { type: String, required: true },
  customerId: { type: String, required: true },
  entitlement: { type: String, required: true },
  /** Its first instant. */
  month: { type: Date, required: true },
  /** Units by the number of the hour in the month; less than zero where more was given back than used. */
  hours: { type: [Number], required: true },
  /** What was pending under this number and below is in it (`metering/history.ts`). */
  seq: { type: Number, required: true },
  expiresAt: { type: Date, required: true },
})

export type UsageMonth = DocumentOf<typeof monthFields>
export const usageMonthSchema = defineSchema(monthFields)
usageMonthSchema.index({ expiresAt: 1, _id: 1 })
usageMonthSchema.index({ tenantId: 1, createdAt: 1, _id: 1 })
usageMonthSchema.index({ tenantId: 1, storefrontId: 1, customerId: 1, createdAt: 1, _id: 1 })
usageMonthSchema.index({ tenantId: 1, storefrontId: 1, customerId: 1, entitlement: 1, createdAt: 1, _id: 1 })

/** A report or event that was counted: for those of which there are too many for the customer's counters. */
const reportFields = defineFields({
  storefrontId: { type: String, required: true },
  customerId: { type: String, required: true },
  /** A hash of what it said, where a repeat has to say the same. */
  says: { type: String },
  expiresAt: { type: Date, required: true },
})

export type CountedReport = DocumentOf<typeof reportFields>
export const countedReportSchema = defineSchema(reportFields)
countedReportSchema.index({ expiresAt: 1, _id: 1 })
countedReportSchema.index({ tenantId: 1, createdAt: 1, _id: 1 })
countedReportSchema.index({ tenantId: 1, storefrontId: 1, customerId: 1, createdAt: 1, _id: 1 })
