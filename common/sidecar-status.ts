/**
 * What a sidecar tells control planes of itself, as JSON. A reader ignores fields that it does not know, and a field that is added later
 * is optional, so that sidecars and control planes of two versions understand each other.
 */
import { z } from './zod.ts'

const count = z.number().min(0)
const text = z.string().min(1).max(200)

/** More tenants than that are counted, not named: a status is a small message. */
export const MAX_NAMED_TENANTS = 20

const sidecarStatus = z.object({
  /** Its name at the ledgers of quotas; it survives a restart where there is a journal. */
  id: text,
  version: text,
  startedAt: z.iso.datetime(),
  host: text,
  transport: text,
  threads: count,
  /** The tenants that it is limited to; absent: it serves all. */
  tenants: z.array(text).max(MAX_NAMED_TENANTS).optional(),
  tenantCount: count.optional(),
  ready: z.boolean(),
  feed: z.object({
    live: z.boolean(),
    complete: z.boolean(),
    /** Absent: nothing is known yet. */
    asOf: z.iso.datetime().optional(),
    reconnects: count,
  }),
  sets: z.object({ held: count, behind: count, bytes: count, maxBytes: count, evictions: count }),
  lookups: z.object({ hits: count, misses: count }),
  /** Quotas that are counted here, and the questions about them. */
  quotas: z.object({ counted: count, questions: count, unanswered: count }),
  connections: count,
  faults: count,
  /** It stops, and is to be forgotten. */
  leaving: z.boolean().optional(),
})

export type SidecarStatus = z.infer<typeof sidecarStatus>

/** The largest status has about five kilobytes. */
const MAX_BYTES = 8 * 1024

export const encodeSidecarStatus = (status: SidecarStatus): Uint8Array => Buffer.from(JSON.stringify(status))

/** @returns undefined for anything else: what a later version tells, or what somebody else sends. */
export const decodeSidecarStatus = (message: Uint8Array): SidecarStatus | undefined => {
  if (message.length > MAX_BYTES) return undefined
  try {
    return sidecarStatus.safeParse(JSON.parse(Buffer.from(message).toString())).data
  } catch {
    return undefined
  }
}
