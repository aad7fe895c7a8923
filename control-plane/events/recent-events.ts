/** The end of a tenant's log, read once for all that it is sent to. */
import type { LoggedEvent } from '../schemas/event.ts'

/** A page of the log, and what is kept of it in memory. */
const PAGE = 100
const MOST_KEPT = 500

type Read = (after: number, limit: number) => Promise<{ events: LoggedEvent[]; upTo: number }>

export interface RecentEvents {
  /** Events after a place, in their order; and the place that a reader is at with them. */
  read(after: number): Promise<{ events: readonly LoggedEvent[]; upTo: number }>
}

export const recentEvents = (read: Read): RecentEvents => {
  let kept: LoggedEvent[] = []
  /** Everything after `from`, and up to `to`, is kept. */
  let [from, to] = [0, 0]
  let reading: Promise<void> | undefined

  const readOn = async (): Promise<void> => {
    const begun = to
    const { events, upTo } = await read(begun, PAGE)
    // Somebody further on has begun anew meanwhile.
    if (to !== begun) return
    kept.push(...events)
    to = upTo
    if (kept.length <= MOST_KEPT) return
    const left = kept.splice(0, kept.length - MOST_KEPT)
    from = left.at(-1)?.position ?? from
  }

  return {
    read: async (after) => {
      // The first to ask is where it begins.
      if (to === 0) [from, to] = [after, after]
      if (after < from) return read(after, PAGE)
      if (after > to) {
        kept = []
        ;[from, to] = [after, after]
      }
      if (after === to) {
        reading ??= readOn().finally(() => {
          reading = undefined
        })
        await reading
      }
      if (after < from || after > to) return read(after, PAGE)
      return { events: kept.filter(({ position }) => position > after), upTo: to }
    },
  }
}
