/**
 * The ledger of one quota of one customer: what has been used of it, and what sidecars may spend without asking. Pure.
 *
 * **Units are counted as used when they are lent.** What a sidecar does not need is given back, and until it has said so it stays
 * counted. So a limit cannot be passed, whatever is lost, repeated, late or overtaken on the way, and however long a sidecar is
 * away: nothing is ever given out twice, and no clock decides about it. A sidecar that dies has used what it was lent, unless it
 * says otherwise later, in the same window.
 *
 * **A lease is a running account**, one per sidecar and allowance: how much was lent and how much of it was spent, in totals. A
 * question is numbered; only one that is newer than all before it lends or takes back, and a repeat is told what there is.
 */
import type { Interval } from '../../common/calendar.ts'
import { DAY_MS } from '../../common/durations.ts'
import { MAX_COUNT, plus } from '../../common/entitlements/model.ts'
import type { LedgerAnswer, LedgerQuestion } from '../../common/metering/ledger-words.ts'
import { heirOf, type UsageEntry } from '../entitlements/allowances.ts'
import { type Allowance, allowancesOf, type Counting, entriesWith, type HeldQuota, take } from '../entitlements/count-usage.ts'
import type { UsageCounters } from '../schemas/entitlement-set.ts'
import type { NotedUse } from './history.ts'

export type Borrower = NonNullable<UsageCounters['borrowers']>[number]
type Lease = Borrower['leases'][number]

/** What the customer's document has of all its ledgers. */
export interface Ledgers {
  entries: readonly UsageEntry[]
  borrowers: readonly Borrower[]
}

export interface LedgerTerms extends Counting {
  /** The quotas that give access now, of those that are held: only these lend. */
  current: readonly HeldQuota[]
  /** The time of this system, by which is told who is away; `now` is the customer's. */
  systemNow: Date
}

/** Nobody waits for the units of a sidecar that has not been heard of for so long. Sidecars ask at least every three seconds. */
const AWAY_AFTER_MS = 10_000
/** How long a refusal makes others hand back: a waiting sidecar asks again sooner. */
const RECALL_MS = 2_000
/** A sidecar that holds nothing is remembered so long: no message is under way for longer. */
const FORGOTTEN_AFTER_MS = 600_000
/** A sidecar that was cut off repeats its later uses when it is back: for so long they are known to be counted. */
const LATER_USES_FORGOTTEN_AFTER_MS = 30 * DAY_MS
/** The document stays small. Beyond it the one that was away for longest is forgotten: what it was lent stays counted. */
const MAX_BORROWERS = 1_000

const sum = <T>(list: readonly T[], of: (one: T) => number): number => list.reduce((total, one) => plus(total, of(one)), 0)

const freeOf = ({ limit, used }: Allowance): number => Math.max(0, (limit ?? MAX_COUNT) - used)
const unspentOf = ({ lent, spent }: Lease): number => lent - spent
const runs = ({ until }: Lease, now: Date): boolean => now < until

/** Gives back in the window in which it was lent; where that is over, or has become another one, it is gone. */
const withGivenBack = (entries: readonly UsageEntry[], lease: Lease, units: number, counting: Counting): readonly UsageEntry[] => {
  if (units === 0 || !runs(lease, counting.now)) return entries
  const { held, holders } = counting
  const holder = heirOf(lease.subscriptionId, holders, (id) => held.some(({ holder: one }) => one.id === id))
  const allowances = allowancesOf(entries, counting)
  const found = allowances.find((one) => one.holderId === holder?.id && one.per === lease.per && one.start <= lease.lentAt)
  if (!found) return entries
  const less = { ...found, used: Math.max(0, found.used - units) }
  return entriesWith(
    entries,
    allowances.map((one) => (one === found ? less : one)),
    counting,
  )
}

/** When units of a lease were used at the latest: what is told after its window was used in it all the same. */
const lastTimeOf = ({ until }: Lease, now: Date): Date => (now < until ? now : new Date(until.getTime() - 1))

/** What the sidecar says of its leases. @param isNew otherwise only what was spent counts: totals do not go back. */
const settleUses = (borrower: Borrower, { uses }: LedgerQuestion, isNew: boolean, entries: readonly UsageEntry[], counting: Counting) => {
  let counted = entries
  const noted: NotedUse[] = []
  const leases = borrower.leases.flatMap((lease): Lease[] => {
    const use = uses.find((one) => one.lease === lease.id)
    const spent = Math.max(lease.spent, Math.min(lease.lent, use?.spent ?? 0))
    noted.push({ key: borrower.key, at: lastTimeOf(lease, counting.now), units: spent - lease.spent })
    const lent = isNew ? Math.max(spent, Math.min(lease.lent, use?.upTo ?? 0)) : lease.lent
    counted = withGivenBack(counted, lease, lease.lent - lent, counting)
    return runs(lease, counting.now) ? [{ ...lease, spent, lent }] : []
  })
  return { entries: counted, borrower: { ...borrower, leases }, noted }
}

/** How much is lent: what is needed if there is enough for one use, and of the rest no more than lets the others have as much twice. */
const amountOf = ({ least, need, want }: LedgerQuestion, free: number, sidecars: number, isRecalled: boolean): number => {
  const needed = free >= least ? Math.min(need, free) : 0
  const spare = isRecalled || needed < need ? 0 : Math.floor((free - needed) / 2 / sidecars)
  return needed + Math.min(want, spare)
}

/** A day and a month that begin together are two windows. */
const idOf = ({ holderId, per, start }: Allowance): string => `${holderId}@${start.getTime()}/${per}`

/** What is lent of a grant that ends before its window does is spent only until then. */
const endOf = ({ holderId, end }: Allowance, current: readonly HeldQuota[]): Date => {
  const untilMs = current.find(({ holder }) => holder.id === holderId)?.grant.untilMs ?? Infinity
  return untilMs < end.getTime() ? new Date(untilMs) : end
}

/** A soft limit lends whatever is asked for: what is lent beyond it counts with the last allowance. */
const isSoft = ({ current }: LedgerTerms): boolean => current.some(({ grant: { terms } }) => terms.kind === 'quota' && terms.overage === 'allow')

const freeIn = (allowances: readonly Allowance[], terms: LedgerTerms): number =>
  allowances.length > 0 && isSoft(terms) ? MAX_COUNT - sum(allowances, ({ used }) => used) : sum(allowances, freeOf)

const lend = (borrower: Borrower, amount: number, entries: readonly UsageEntry[], terms: LedgerTerms) => {
  const counting = { ...terms, held: terms.current }
  const allowances = allowancesOf(entries, counting)
  let leases = borrower.leases
  let left = amount
  const after = allowances.map((allowance, n): Allowance => {
    const isLastOfSoft = n === allowances.length - 1 && isSoft(terms)
    const lent = isLastOfSoft ? left : Math.min(left, freeOf(allowance))
    if (lent === 0) return allowance
    left -= lent
    const { holderId: subscriptionId, per } = allowance
    const id = idOf(allowance)
    // Of a pause, or of a longer grant, a lease that is there already learns here.
    const until = endOf(allowance, terms.current)
    const known = leases.find((one) => one.id === id)
    const lease = known
      ? { ...known, lent: known.lent + lent, until }
      : { id, subscriptionId, per: per as Interval, lent, spent: 0, lentAt: allowance.at, until }
    leases = [...leases.filter((one) => one.id !== id), lease]
    return { ...allowance, used: allowance.used + lent }
  })
  return { borrower: { ...borrower, leases }, entries: left === amount ? entries : entriesWith(entries, after, counting) }
}

/** Counts uses that have happened already, each in the windows that it was in; those of windows that are over are in no count any more. */
const countLater = (borrower: Borrower, { laterUses }: LedgerQuestion, entries: readonly UsageEntry[], counting: Counting) => {
  let counted = entries
  let last = borrower.laterUses ?? 0
  const noted: NotedUse[] = []
  for (const { seq, amount, atMs } of laterUses) {
    if (seq <= last) continue
    last = seq
    noted.push({ key: borrower.key, at: new Date(atMs), units: amount })
    const allowances = allowancesOf(counted, counting)
    const running = allowances.filter(({ start }) => start.getTime() <= atMs)
    const after = take(running, Math.min(amount, MAX_COUNT - sum(running, ({ used }) => used)))
    counted = entriesWith(
      counted,
      allowances.map((one) => after.find(({ holderId }) => holderId === one.holderId) ?? one),
      counting,
    )
  }
  return { entries: counted, borrower: last === 0 ? borrower : { ...borrower, laterUses: last }, noted }
}

const isAway = ({ seenAt }: Borrower, { systemNow }: LedgerTerms): boolean => systemNow.getTime() - seenAt.getTime() > AWAY_AFTER_MS

const isRemembered = ({ leases, laterUses, seenAt }: Borrower, { systemNow, now }: LedgerTerms): boolean =>
  leases.some((lease) => runs(lease, now)) ||
  systemNow.getTime() - seenAt.getTime() < (laterUses === undefined ? FORGOTTEN_AFTER_MS : LATER_USES_FORGOTTEN_AFTER_MS)

const remembered = (borrowers: readonly Borrower[], terms: LedgerTerms): Borrower[] =>
  borrowers
    .filter((one) => isRemembered(one, terms))
    // Those that hold nothing are forgotten first.
    .toSorted((a, b) => Number(b.leases.length > 0) - Number(a.leases.length > 0) || b.seenAt.getTime() - a.seenAt.getTime())
    .slice(0, MAX_BORROWERS)

/** What is lent and not spent, of sidecars that may still spend it or give it back. */
const outstandingOf = (borrowers: readonly Borrower[], terms: LedgerTerms): number =>
  sum(
    borrowers.filter((one) => !isAway(one, terms)),
    ({ leases }) => sum(leases, (lease) => (runs(lease, terms.now) ? unspentOf(lease) : 0)),
  )

const answerOf = (borrower: Borrower, entries: readonly UsageEntry[], others: readonly Borrower[], terms: LedgerTerms): LedgerAnswer => {
  const allowances = allowancesOf(entries, { ...terms, held: terms.current })
  const isUnlimited = allowances.some(({ limit }) => limit === null)
  const ends = allowances.map(({ end }) => end.getTime())
  const recallable = outstandingOf(others, terms)
  const own = sum(borrower.leases, unspentOf)
  return {
    seq: borrower.seq,
    leases: borrower.leases.map(({ id, lent, spent, until }) => ({ id, lent, spent, untilMs: until.getTime() })),
    limit: isUnlimited ? null : sum(allowances, ({ limit }) => limit ?? 0),
    used: Math.max(0, sum(allowances, ({ used }) => used) - recallable - own),
    free: freeIn(allowances, terms),
    recallable,
    recall: others.some(({ waitsUntil }) => waitsUntil && terms.systemNow < waitsUntil),
    resetsAtMs: ends.length === 0 ? undefined : Math.min(...ends),
    laterUses: borrower.laterUses ?? 0,
    usageSeq: 0,
  }
}

/**
 * Answers a sidecar. What it asks for is lent as far as there is some; where there is not and others have what they may not need,
 * they are told to give it back when they ask next.
 * @returns the ledgers as they are to be stored, before which nothing may be answered, and what was told to be used for the
 *   first time.
 */
export const askLedger = (
  ledgers: Ledgers,
  sidecar: string,
  question: LedgerQuestion,
  terms: LedgerTerms,
): { ledgers: Ledgers; answer: LedgerAnswer; noted: NotedUse[] } => {
  const { key, systemNow } = terms
  const isThis = (one: Borrower): boolean => one.key === key && one.sidecar === sidecar
  const known = ledgers.borrowers.find(isThis) ?? { key, sidecar, seq: 0, seenAt: systemNow, leases: [] }
  const others = ledgers.borrowers.filter((one) => one.key === key && one !== known)
  const isNew = question.seq > known.seq
  const settled = settleUses(known, question, isNew, ledgers.entries, terms)
  const later = countLater(settled.borrower, question, settled.entries, terms)
  let { borrower, entries } = later
  if (isNew) {
    const free = freeIn(allowancesOf(entries, { ...terms, held: terms.current }), terms)
    const sidecars = 1 + others.filter((one) => !isAway(one, terms)).length
    const isRecalled = others.some(({ waitsUntil }) => waitsUntil && systemNow < waitsUntil)
    const amount = amountOf(question, free, sidecars, isRecalled)
    const waits = amount < question.least && outstandingOf(others, terms) > 0
    const { waitsUntil: _, ...rest } = borrower
    const asked = { ...rest, seq: question.seq, seenAt: systemNow, ...(waits ? { waitsUntil: new Date(systemNow.getTime() + RECALL_MS) } : {}) }
    const lent = lend(asked, amount, entries, terms)
    borrower = lent.borrower
    entries = lent.entries
  }
  const answer = answerOf(borrower, entries, others, terms)
  const borrowers = remembered([...ledgers.borrowers.filter((one) => !isThis(one)), borrower], terms)
  return { ledgers: { entries, borrowers }, answer, noted: [...settled.noted, ...later.noted] }
}

/** What of a key is counted because it is lent, and was not used yet. */
export const unspentOfKey = (borrowers: readonly Borrower[], key: string, now: Date): number =>
  sum(
    borrowers.filter((one) => one.key === key),
    ({ leases }) => sum(leases, (lease) => (runs(lease, now) ? unspentOf(lease) : 0)),
  )

/** The entries less what is lent and not spent by sidecars that may still give it back: what has been used, as people are shown it. */
export const spentEntries = (ledgers: Ledgers, now: Date, systemNow: Date): UsageEntry[] => {
  const unspent = new Map<string, number>()
  for (const borrower of ledgers.borrowers) {
    if (systemNow.getTime() - borrower.seenAt.getTime() > AWAY_AFTER_MS) continue
    for (const lease of borrower.leases) {
      const of = `${borrower.key} ${lease.subscriptionId}`
      if (runs(lease, now)) unspent.set(of, (unspent.get(of) ?? 0) + unspentOf(lease))
    }
  }
  return ledgers.entries.map((entry) => {
    const left = entry.until && now < entry.until ? unspent.get(`${entry.key} ${entry.subscriptionId}`) : undefined
    return left === undefined ? entry : { ...entry, used: Math.max(0, entry.used - left) }
  })
}
