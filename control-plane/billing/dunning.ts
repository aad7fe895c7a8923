/** The times at which an overdue payment is retried. Whether a try makes sense at all is the payment machine's to say. */
import { HOUR_MS } from '../../common/durations.ts'
import type { BillingTerms } from '../schemas/storefront.ts'
import type { Bill } from '../schemas/subscription.ts'

/** The time that retries are counted from. One that has not failed before fails now. */
export const firstFailureOf = ({ failedAt }: Pick<Bill, 'failedAt'>, now: Date): Date => failedAt ?? now

/** The first time of the schedule after `now`, counted from the first failure; undefined when there is none left. */
export const nextRetryAt = ({ retryHours }: Pick<BillingTerms, 'retryHours'>, failedAt: Date, now: Date): Date | undefined =>
  retryHours
    .map((hours) => new Date(failedAt.getTime() + hours * HOUR_MS))
    .sort((a, b) => a.getTime() - b.getTime())
    .find((at) => at > now)

/** True if the last time of the schedule has gone by. */
export const isScheduleOver = ({ retryHours }: Pick<BillingTerms, 'retryHours'>, failedAt: Date, now: Date): boolean =>
  now.getTime() > failedAt.getTime() + Math.max(0, ...retryHours) * HOUR_MS

/** After the last try its outcome is waited for this long. */
const LAST_WORD_WITHIN_MS = 24 * HOUR_MS

export const lastWordBy = (now: Date): Date => new Date(now.getTime() + LAST_WORD_WITHIN_MS)

/** Providers are asked again, or asked what became of it, within this. */
const VERDICT_WITHIN_MS = 10 * 60_000

/** How long a renewal may go without the providers' verdict before it counts as overdue: as long as grace lasts. */
export const verdictBy = (billing: Pick<BillingTerms, 'graceHours'>, periodEnd: Date, openedAt: Date): Date =>
  // A worker that is days behind opens it late: the customer is not to blame for that.
  new Date(Math.max(periodEnd.getTime(), openedAt.getTime()) + Math.max(billing.graceHours * HOUR_MS, VERDICT_WITHIN_MS))

export const graceFrom = ({ graceHours }: Pick<BillingTerms, 'graceHours'>, at: Date): Date => new Date(at.getTime() + graceHours * HOUR_MS)
