/** Attempts whose outcomes nobody knows: money may have moved, and the payment waits. */
import { DAY_MS, HOUR_MS } from '../../common/durations.ts'
import type { Payment } from '../schemas/payment.ts'
import { MAX_PAGE, type Storage } from '../storage/storage.ts'
import { later } from './machine/state.ts'

/** An attempt is asked about once a day at least, so all of them are due within it. */
const ASKED_WITHIN_MS = DAY_MS + HOUR_MS
/** Payments that are read: more than wait for anything in a business that is well, and some megabytes. */
const MAX_READ = 2_000

export interface UnknownOutcomes {
  count: number
  /** The time of the oldest of these attempts; undefined: there is none. */
  oldest: Date | undefined
}

/** Counts those of live tenants, up to a bound. @throws AppError `unavailable`. */
export const countUnknownOutcomes = async ({ payments }: Pick<Storage, 'payments'>, now: Date): Promise<UnknownOutcomes> => {
  const found: Date[] = []
  let page: Payment[]
  let last: Payment | undefined
  let read = 0
  do {
    const after = last?.dueAt ? { at: last.dueAt, id: last._id } : undefined
    page = await payments.due({ by: 'dueAt', where: { clock: 'system' }, until: later(now, ASKED_WITHIN_MS), limit: MAX_PAGE, after })
    for (const { attempts } of page) found.push(...attempts.filter(({ status }) => status === 'unknown').map(({ at }) => at))
    last = page.at(-1)
    read += page.length
  } while (page.length === MAX_PAGE && read < MAX_READ)
  return { count: found.length, oldest: found.toSorted((a, b) => a.getTime() - b.getTime())[0] }
}
