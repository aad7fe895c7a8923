/**
 * What all schemas have in common. A mongoose schema is the single source of an entity's validation, defaults,
 * types and indexes, in every storage adapter: MongoDB and SQLite alike. Nothing here needs a connection.
 *
 * Conventions: `_id` is the entity's identity path, built by `keys.ts`; `revision` counts writes and is what every
 * compare-and-set compares; optional fields are absent, not null, unless null means something.
 */
import mongoose, { type InferRawDocType, type SchemaDefinition } from 'mongoose'

export const { Schema } = mongoose

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
 * Of documents that may have work to do later. Business time and repair time are two: a sandbox tenant's business
 * waits for its test clock, while a crash is repaired by the system clock, for every tenant.
 */
export const workFields = {
  /** Whose time `dueAt` is in: `system`, or the id of a sandbox tenant. */
  clock: { type: String, required: true },
  /** When business has to go on: a period ends, an inquiry is due. Absent: never by itself. */
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

/** The type of a part; mongoose would give each an `_id`. */
export type PartOf<F> = Omit<InferRawDocType<F>, '_id'>

/** A part of a document, without an `_id` of its own. */
export const part = <const F extends SchemaDefinition>(fields: F) => new Schema(fields, { _id: false, strict: 'throw', minimize: false, id: false })
