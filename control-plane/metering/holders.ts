/**
 * Who occupies places of a capacity. Pure. The count of a key (`entries`) is all that is occupied, by holders and without a name;
 * a holder whose time is over occupies nothing, whether or not it has been taken out yet.
 */
import { plus } from '../../common/entitlements/model.ts'
import type { HolderAnswer, HolderQuestion } from '../../common/metering/holder-words.ts'
import type { UsageEntry } from '../entitlements/allowances.ts'
import type { UsageCounters } from '../schemas/entitlement-set.ts'

export type Occupant = NonNullable<UsageCounters['holders']>[number]

export interface Places {
  entries: readonly UsageEntry[]
  holders: readonly Occupant[]
}

export interface PlacesTerms {
  /** Null: unlimited. */
  limit: number | null
  /** What is beyond the limit is allowed, and counted. */
  isSoft: boolean
  /** The customer's time. */
  now: Date
}

/** The document stays small: a holder takes a hundred bytes. */
export const MAX_HOLDERS = 10_000

const isOver = ({ until }: Occupant, now: Date): boolean => until !== undefined && until <= now

export const usedOf = (entries: readonly UsageEntry[], key: string): number => entries.find((entry) => entry.key === key && !entry.until)?.used ?? 0

/** The entries with so many more places of a key occupied; fewer, below zero. */
const withMore = (entries: readonly UsageEntry[], key: string, more: number): UsageEntry[] => {
  const used = Math.max(0, plus(usedOf(entries, key), more))
  return [...entries.filter((entry) => entry.key !== key || entry.until), { key, used }]
}

export const placesOf = ({ entries, holders = [] }: Pick<UsageCounters, 'entries' | 'holders'>): Places => ({ entries, holders })

/** Without the holders whose time is over. */
export const livingPlaces = (places: Places, now: Date): Places => {
  const over = places.holders.filter((holder) => isOver(holder, now))
  if (over.length === 0) return places
  const entries = over.reduce<readonly UsageEntry[]>((left, { key, amount }) => withMore(left, key, -amount), places.entries)
  return { entries, holders: places.holders.filter((holder) => !isOver(holder, now)) }
}

/** The counters without the holders whose time is over. */
export const livingCounters = (counters: UsageCounters, now: Date): UsageCounters & { holders: Occupant[] } => {
  const { entries, holders } = livingPlaces(placesOf(counters), now)
  return { ...counters, entries: [...entries], holders: [...holders] }
}

/** When the next holder's time is over. */
export const nextEnd = (holders: readonly Occupant[]): Date | undefined => {
  const ends = holders.flatMap(({ until }) => (until ? [until.getTime()] : []))
  return ends.length === 0 ? undefined : new Date(ends.reduce((first, end) => Math.min(first, end)))
}

/** What holders of a key occupy, which only they give back. */
export const heldOf = (holders: readonly Occupant[], key: string): number => holders.reduce((sum, one) => (one.key === key ? plus(sum, one.amount) : sum), 0)

type Decided = { places: Places; outcome: HolderAnswer['outcome'] }

const acquire = (places: Places, { entitlement: key, holder, amount, ttlMs }: HolderQuestion, { limit, isSoft, now }: PlacesTerms): Decided => {
  const known = holder === '' ? undefined : places.holders.find((one) => one.key === key && one.holder === holder)
  if (known) {
    if (known.amount !== amount) return { places, outcome: 'other_amount' }
    // It is renewed, and never ends earlier than it would have.
    const until = known.until && ttlMs > 0 ? new Date(Math.max(known.until.getTime(), now.getTime() + ttlMs)) : undefined
    const { until: _, ...rest } = known
    const renewed = until ? { ...rest, until } : rest
    return { places: { ...places, holders: places.holders.map((one) => (one === known ? renewed : one)) }, outcome: 'repeat' }
  }
  if (limit !== null && !isSoft && usedOf(places.entries, key) + amount > limit) return { places, outcome: 'refused' }
  if (holder !== '' && places.holders.length >= MAX_HOLDERS) return { places, outcome: 'too_many' }
  const entries = withMore(places.entries, key, amount)
  if (holder === '') return { places: { ...places, entries }, outcome: 'granted' }
  const made = { key, holder, amount, since: now, ...(ttlMs > 0 ? { until: new Date(now.getTime() + ttlMs) } : {}) }
  return { places: { entries, holders: [...places.holders, made] }, outcome: 'granted' }
}

/** @param amount undefined: all of it. */
const release = (places: Places, key: string, holder: string, amount: number | undefined): Places => {
  if (holder === '') {
    const unnamed = usedOf(places.entries, key) - heldOf(places.holders, key)
    return { ...places, entries: withMore(places.entries, key, -Math.min(unnamed, amount ?? unnamed)) }
  }
  const known = places.holders.find((one) => one.key === key && one.holder === holder)
  if (!known) return places
  const given = Math.min(known.amount, amount ?? known.amount)
  const left = given === known.amount ? [] : [{ ...known, amount: known.amount - given }]
  return {
    entries: withMore(places.entries, key, -given),
    holders: places.holders.flatMap((one) => (one === known ? left : [one])),
  }
}

/** What was reserved is occupied for good, whatever the limit says: it has happened. */
const settle = (places: Places, { entitlement: key, holder, heir = '', amount }: HolderQuestion, now: Date): Places => {
  const freed = release(places, key, holder, undefined)
  if (amount === 0) return freed
  const entries = withMore(freed.entries, key, amount)
  return { entries, holders: heir === '' ? freed.holders : [...freed.holders, { key, holder: heir, amount, since: now }] }
}

/** @returns the places as they are to be stored, before which nothing may be answered. */
export const askPlaces = (places: Places, question: HolderQuestion, terms: PlacesTerms): { places: Places; answer: HolderAnswer } => {
  const { act, entitlement: key, holder, amount } = question
  const living = livingPlaces(places, terms.now)
  const decided = ((): Decided => {
    switch (act) {
      case 'acquire':
        return acquire(living, question, terms)
      case 'settle':
        return { places: settle(living, question, terms.now), outcome: 'granted' }
      case 'release':
        return { places: release(living, key, holder, amount === 0 ? undefined : amount), outcome: 'granted' }
      default:
        return act satisfies never
    }
  })()
  return { places: decided.places, answer: { outcome: decided.outcome, used: usedOf(decided.places.entries, key), limit: terms.limit } }
}
