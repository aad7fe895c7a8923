export const HOUR_MS = 3_600_000
/** A day of 24 hours, for deadlines and bounds. Billing goes by the calendar, whose days may have 23 or 25 (`calendar.ts`). */
export const DAY_MS = 24 * HOUR_MS
