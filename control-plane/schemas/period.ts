import { type DocumentOf, part } from './schema.ts'

/** A billing period, half-open. */
export const periodFields = {
  /** The number of the cycle's period that it is, or is a piece of; -1 for the time before the first. */
  index: { type: Number, required: true },
  start: { type: Date, required: true },
  end: { type: Date, required: true },
  /**
   * The whole period that a stub is a piece of; the same as start and end where nothing is cut off. It is what a
   * price is divided by: a stub of 29 days in a period of 31 costs 29/31.
   */
  wholeStart: { type: Date, required: true },
  wholeEnd: { type: Date, required: true },
} as const

export const periodPart = part(periodFields)
export type BillingPeriod = DocumentOf<typeof periodFields>

export const lineKinds = ['plan', 'unused', 'one_time', 'carried'] as const

const lineFields = {
  /**
   * `plan`: a plan for a span of time; `unused`: what was paid and is given back (below zero); `one_time`; `carried`: too little
   * for a charge of its own, brought from the bill before, or (below zero) left to the next.
   */
  kind: { type: String, enum: lineKinds, required: true },
  bundleId: { type: String },
  bundleVersion: { type: Number },
  quantity: { type: Number },
  /** Rounded half up, once. Credits are below zero. */
  amountMinor: { type: Number, required: true },
  start: { type: Date },
  end: { type: Date },
} as const

export const linePart = part(lineFields)
export type Line = DocumentOf<typeof lineFields>
