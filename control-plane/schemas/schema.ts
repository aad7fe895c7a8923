/**
 * The parts that all schemas have in common. A mongoose schema is the single source of an entity's validation, defaults, types
 * and indexes, in every storage adapter: MongoDB and SQLite alike. Nothing here needs a connection.
 *
 * Conventions: `_id` is the entity's identity path, built by `keys.ts`; `revision` counts writes and is what every
 * compare-and-set compares; optional fields are absent, never null, but for those that a schema calls `nullable`. What is
 * stored may differ (MongoDB and documents of earlier versions can hold null): `storage/document-codec.ts` is where that ends.
 */
import mongoose, { type SchemaDefinition } from 'mongoose'

const { Schema } = mongoose

const documentFields = {
  _id: { type: String, required: true },
  tenantId: { type: String, required: true },
  revision: { type: Number, required: true, min: 1 },
  /** The form that the document is stored in (`migrations.ts`). Absent: 1. */
  schemaVersion: { type: Number, min: 1 },
  createdAt: { type: Date, required: true },
  updatedAt: { type: Date, required: true },
} as const

/**
 * The fields of documents that may have work to do later. Business time and repair time are two: a sandbox tenant's business
 * waits for its test clock, while a crash is repaired by the system clock, for every tenant.
 */
export const workFields = {
  /** The clock that `dueAt` is read by: `system`, or the id of a sandbox tenant. */
  clock: { type: String, required: true },
  /** The time when business has to go on: a period ends, an inquiry is due. Absent: never by itself. */
  dueAt: { type: Date },
  /** System time from which a sweeper may finish what a crash left half-done. Absent: nothing is. */
  repairAt: { type: Date },
} as const

export const defineFields = <const F extends SchemaDefinition>(fields: F) => ({ ...documentFields, ...fields })

export const defineSchema = (fields: SchemaDefinition) =>
  new Schema(fields, {
    versionKey: false,
    // A field that no schema names is a mistake of ours: never stored in silence.
    strict: 'throw',
    minimize: false,
    id: false,
    autoCreate: false,
    autoIndex: false,
    bufferCommands: false,
  })

declare const definedBy: unique symbol
type PartSchema<F> = mongoose.Schema & { readonly [definedBy]?: F }

/** A part of a document, without an `_id` of its own. */
export const part = <const F extends SchemaDefinition>(fields: F) =>
  new Schema(fields, { _id: false, strict: 'throw', minimize: false, id: false }) as PartSchema<F>

declare const holds: unique symbol
type MixedType<T> = typeof Schema.Types.Mixed & { readonly [holds]?: T }

/** A value that is stored as it is, and that only its type says anything of. */
export const asItIs = <T>() => Schema.Types.Mixed as MixedType<T>

/** An event that its document still holds; it waits to be handed on to the tenant's log. */
export interface OutboxEvent {
  id: string
  type: string
  /** Counts the events of the subject. */
  seq: number
  /** When it happened, in the tenant's time: ISO 8601. */
  time: string
  storefrontId?: string
  customerId?: string
  subject: string
  /** True: it may be in the log by now, and is not taken back. */
  leaving?: boolean
  /** The object as the HTTP API answers it. */
  data: unknown
}

/** The fields of documents whose changes are events (`events/`). */
export const eventFields = {
  /** The sequence of its last event. */
  eventSeq: { type: Number, min: 0 },
  /** What was made events of, as its noter keeps it. Absent: the document was stored before its events were noted. */
  told: { type: asItIs<unknown>() },
  /** Events that may not be in the tenant's log yet; and since when they wait, in system time. */
  outbox: { type: asItIs<OutboxEvent[]>() },
  outboxAt: { type: Date },
} as const

type ValueOf<T, D> = T extends StringConstructor
  ? D extends { enum: readonly (infer E)[] }
    ? E
    : string
  : T extends NumberConstructor
    ? number
    : T extends BooleanConstructor
      ? boolean
      : T extends DateConstructor
        ? Date
        : T extends MixedType<infer V>
          ? V
          : T extends PartSchema<infer F>
            ? DocumentOf<F>
            : T extends readonly [infer Element]
              ? ValueOf<Element, D>[]
              : never

type FieldOf<D> = D extends { type: infer T } ? ValueOf<T, D> | (D extends { nullable: true } ? null : never) : never

/** The fields that are always there: required ones, and those with a default. */
type PresentIn<F> = {
  [K in keyof F]: F[K] extends { required: true } ? K : F[K] extends { default: infer V } ? (V extends undefined ? never : K) : never
}[keyof F]

type Flat<T> = { [K in keyof T]: T[K] }

/**
 * The type of the documents, or parts, that these fields define. An optional field is absent or holds a value; mongoose's own
 * inference would have null and undefined beside, and arrays that are no plain arrays.
 */
export type DocumentOf<F> = Flat<{ -readonly [K in PresentIn<F>]: FieldOf<F[K]> } & { -readonly [K in Exclude<keyof F, PresentIn<F>>]?: FieldOf<F[K]> }>
