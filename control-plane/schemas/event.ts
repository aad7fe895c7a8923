import { asItIs, type DocumentOf, defineFields, defineSchema, part, workFields } from './schema.ts'

/** An entry of a tenant's log of events. It is written once, and never changed but for an erasure. */
const entryFields = defineFields({
  id: { type: String, required: true },
  /** Its place in the log: readers go on after it. Places may be left out. */
  position: { type: Number, required: true, min: 1 },
  type: { type: String, required: true },
  subject: { type: String, required: true },
  /** Counts the events of the subject. */
  seq: { type: Number, required: true, min: 1 },
  /** When it happened, in the tenant's time. */
  time: { type: Date, required: true },
  storefrontId: { type: String },
  customerId: { type: String },
  /** The object as the HTTP API answered it; of a customer that was erased since: `{ erased: true }`. */
  data: { type: asItIs<unknown>() },
  expiresAt: { type: Date, required: true },
})
export type LoggedEvent = DocumentOf<typeof entryFields>
export const loggedEventSchema = defineSchema(entryFields)
loggedEventSchema.index({ tenantId: 1, position: 1, _id: 1 })
loggedEventSchema.index({ tenantId: 1, storefrontId: 1, customerId: 1, createdAt: 1, _id: 1 })
loggedEventSchema.index({ expiresAt: 1, _id: 1 })

/** An entry that is about to be written, at its place. */
export type PlacedEvent = Omit<LoggedEvent, '_id' | 'tenantId' | 'revision' | 'schemaVersion' | 'createdAt' | 'updatedAt' | 'expiresAt'>

/**
 * The head of a tenant's log. Whoever appends writes the entries here first, with their places: entries that a crash left
 * unwritten are written by whoever comes next, before anything follows them.
 */
const headFields = defineFields({
  /** The place of the next entry. */
  next: { type: Number, required: true, min: 1 },
  /** The entries of the last append, while it is not known that all of them are written. */
  pending: { type: asItIs<PlacedEvent[]>() },
  /** The process that sends the events out, and until when it may, in system time. */
  sender: { type: part({ id: { type: String, required: true }, until: { type: Date, required: true } }) },
  /** Counts what else whoever sends should look at: endpoints that were changed, deliveries that were asked for anew. */
  nudges: { type: Number, min: 0 },
  repairAt: workFields.repairAt,
})
export type EventLog = DocumentOf<typeof headFields>
export const eventLogSchema = defineSchema(headFields)
eventLogSchema.index({ repairAt: 1, _id: 1 })
