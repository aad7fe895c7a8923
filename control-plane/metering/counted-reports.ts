/**
 * Reports and events with an id of their own, which count once however often they come within a day.
 *
 * Their ids are in the customer's counters, so that the write that counts a report also remembers it. When there are many, they move
 * to documents of their own, and are taken out of the counters only when they are there (`flush-counters.ts`). So an id that was
 * counted is found in one place or the other by whoever reads the counters first, and counts only if these are unchanged.
 */
import { createHash } from 'node:crypto'
import pMap from 'p-map'
import { DAY_MS } from '../../common/durations.ts'
import { AppError } from '../../common/errors.ts'
import type { CountedId, UsageCounters } from '../schemas/entitlement-set.ts'
import { insertOrGet, update } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'

const REMEMBERED_MS = DAY_MS
/** The counters stay small, since every use that is counted writes them. */
export const MAX_IN_COUNTERS = 128
/** Documents that are read, or written, at once. */
const AT_ONCE = 32

/** 128 bits of SHA-256, as short as text can have them. */
const hash = (...parts: string[]): string => createHash('sha256').update(JSON.stringify(parts)).digest().subarray(0, 16).toString('base64url')

/** @param of by whom the id was given: the source of an event, nobody for a report. */
export const countedId = (of: { source?: string; id: string }): string => (of.source === undefined ? hash(of.id) : hash(of.source, of.id))

/** @param said what a repeat has to say, too. */
export const saysOf = (...said: (string | number)[]): string => hash(...said.map(String))

const isRemembered = ({ atMs }: CountedId, nowMs: number): boolean => nowMs - atMs < REMEMBERED_MS

export const remembered = ({ counted = [] }: Pick<UsageCounters, 'counted'>, nowMs: number): CountedId[] => counted.filter((one) => isRemembered(one, nowMs))

/** The counters with these reports remembered: for the same write that counts them. */
export const remember = (counters: UsageCounters, reports: readonly Pick<CountedId, 'id' | 'says'>[], nowMs: number): UsageCounters =>
  reports.length === 0 ? counters : { ...counters, counted: [...remembered(counters, nowMs), ...reports.map((report) => ({ ...report, atMs: nowMs }))] }

const keyOf = (of: TenantScope, { storefrontId, customerId }: Pick<UsageCounters, 'storefrontId' | 'customerId'>, id: string): string =>
  of.keys.countedReport(storefrontId, customerId, id)

/**
 * Which of these were counted within a day, with what they said.
 * @param counters as they were read last: what is found holds for a write that compares their revision.
 */
export const countedAmong = async (of: TenantScope, counters: UsageCounters, ids: readonly string[]): Promise<Map<string, string | undefined>> => {
  const nowMs = of.clock.nowMs()
  const found = new Map(remembered(counters, nowMs).map(({ id, says }) => [id, says]))
  if (!counters.countedElsewhereUntil || counters.countedElsewhereUntil.getTime() <= nowMs) return found
  const others = ids.filter((id) => !found.has(id))
  const records = await pMap(others, (id) => of.storage.countedReports.find(keyOf(of, counters, id)), { concurrency: AT_ONCE })
  for (const [n, id] of others.entries()) {
    const record = records[n]
    if (record && record.expiresAt.getTime() > nowMs) found.set(id, record.says)
  }
  return found
}

/** @throws AppError `idempotency_key_reused` when it said something else the first time. @returns whether it was counted. */
export const isRepeat = (counted: ReadonlyMap<string, string | undefined>, { id, says }: Pick<CountedId, 'id' | 'says'>): boolean => {
  if (!counted.has(id)) return false
  if (counted.get(id) === says) return true
  throw new AppError('idempotency_key_reused', 'this id was already used for another report; use a new one')
}

/** Keeps ids in documents of their own. May be done twice. */
export const keepElsewhere = async (of: TenantScope, counters: UsageCounters, ids: readonly CountedId[]): Promise<void> => {
  const { countedReports } = of.storage
  const { tenantId, storefrontId, customerId } = counters
  const keep = async ({ id, says, atMs }: CountedId): Promise<void> => {
    const expiresAt = new Date(atMs + REMEMBERED_MS)
    const document = { tenantId, storefrontId, customerId, ...(says === undefined ? {} : { says }), expiresAt }
    const kept = await insertOrGet(countedReports, { _id: keyOf(of, counters, id), ...document, createdAt: new Date(atMs) })
    // The same id, used again after a day: that of the first is not removed yet.
    if (kept.expiresAt < expiresAt) await update(countedReports, kept._id, ({ says: _, ...latest }) => ({ ...latest, ...document }), kept)
  }
  await pMap(ids, keep, { concurrency: AT_ONCE })
}

/** The counters without the ids that are kept elsewhere, and without those that need not be remembered any more. */
export const withoutKept = (counters: UsageCounters, kept: readonly CountedId[], nowMs: number): UsageCounters => {
  const ids = new Set(kept.map(({ id }) => id))
  const counted = remembered(counters, nowMs).filter(({ id }) => !ids.has(id))
  const untilMs = Math.max(counters.countedElsewhereUntil?.getTime() ?? 0, ...kept.map(({ atMs }) => atMs + REMEMBERED_MS))
  return { ...counters, counted, ...(untilMs === 0 ? {} : { countedElsewhereUntil: new Date(untilMs) }) }
}
