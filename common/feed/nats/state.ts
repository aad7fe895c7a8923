/**
 * The bucket's own state, under keys of its own: whether it holds everything that is stored, and that it is kept up to date.
 *
 * `state`: an epoch, and whether its filling is complete. Another epoch means that the bucket was filled anew, with
 * revisions that owe nothing to the earlier ones: what was read before is forgotten.
 * `beat`: written every second by control planes. Who is delivered one has been delivered everything stored before it.
 */
import { z } from '../../zod.ts'
import type { Signing } from '../signing.ts'

export const STATE_KEY = 'state'
export const BEAT_KEY = 'beat'

const state = z.object({
  epoch: z.string().min(1),
  isComplete: z.boolean(),
  /** While it is not: whose claim it is to fill it, and when that was last renewed, in epoch milliseconds. */
  by: z.string().optional(),
  claimedAtMs: z.number().optional(),
  /** The bucket's content is wrong, and has not been removed yet. */
  isWrong: z.boolean().optional(),
})
export type BucketState = z.infer<typeof state>

const beat = z.object({
  /** The time at which the beat was made, in epoch milliseconds. */
  atMs: z.number(),
  /** The id of the storage that the bucket is filled from, and a count that only grows. */
  storage: z.object({ id: z.string(), count: z.number() }).optional(),
})
export type Beat = z.infer<typeof beat>

export const encodeJson = (value: BucketState | Beat): Uint8Array => Buffer.from(JSON.stringify(value))

const read = <T>(schema: z.ZodType<T>, bytes: () => Uint8Array): T | undefined => {
  try {
    return schema.parse(JSON.parse(Buffer.from(bytes()).toString()))
  } catch {
    return undefined
  }
}

/** Undefined for bytes that say nothing, or are not believed. */
export const decodeState = (bytes: Uint8Array, signing: Signing): BucketState | undefined => read(state, () => signing.open(STATE_KEY, bytes))
export const decodeBeat = (bytes: Uint8Array): Beat | undefined => read(beat, () => bytes)
