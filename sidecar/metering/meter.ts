/**
 * What a sidecar may spend of one quota of one customer, and what it asks the ledger for. Knows no time but what it is told, and
 * sends nothing: `meters.ts` does. What the numbers mean is said in `control-plane/metering/ledger.ts`.
 */
import { plus } from '../../common/entitlements/model.ts'
import type { LaterUse, LedgerAnswer, LedgerQuestion } from '../../common/metering/ledger-words.ts'
import { type Held, type LeasePart, Leases, unitsOf } from './leases.ts'

/** What a meter has to find again after a crash. */
export interface MeterRecord {
  /** `spent`: what may have been spent by now. */
  leases: { id: string; spent: number; untilMs: number }[]
  reservations: { id: string; parts: LeasePart[]; expiresAtMs: number; amount: number }[]
  laterUses: LaterUse[]
}

/** What is known of the quota, as an answer shows it. */
export interface MeterReading {
  /** Null: unlimited. */
  limit: number | null
  /** By all, as the ledger said last. */
  used: number
  /** Here, since then. */
  since: number
  resetsAtMs: number | undefined
  /** The count that `used` is of. */
  usageSeq: number
  /** The ledger is being asked: a later count may have some of `since` in it already. */
  isAsking: boolean
  /** The customer's set has changed since the ledger said so. */
  isOld: boolean
}

/**
 * From so long before the end of a window, by the sidecar's clock, uses are counted by the ledger alone, whose clock decides in
 * which window they fall.
 */
const STOPS_BEFORE_MS = 1_000
/** A lease is for about two seconds' uses: twice as long as until the next report, by which it is made up again. */
const LEASE_MS = 2_000
/** What is not spent for so long is given back. */
const IDLE_MS = 3_000
/** The ledger takes a sidecar for away after ten seconds. */
const REPORT_AT_LEAST_EVERY_MS = 3_000
/** Uses that wait for units of others are asked for again after so long at first, and twice as long each time. */
const ASKS_AGAIN_MS = 10
const ASKS_AGAIN_AT_MOST_MS = 100
/** What was spent is told so often. */
const REPORTS_EVERY_MS = 1_000
/** A refusal holds for so long, unless the customer's set changes: who asks on is not answered by a question each. */
const REFUSAL_HOLDS_MS = 200

/** `unavailable`: nobody could say in time. */
export type Outcome = 'allowed' | 'refused' | 'unavailable'

export interface Want {
  amount: number
  /** The units are kept for it until it is committed or released. Absent: they are spent. */
  reservation?: { id: string; expiresAtMs: number }
  /** What to do when the ledger does not answer: `allow` counts the use, and tells the ledger later. */
  whenAway: 'deny' | 'allow'
}

interface Waiting extends Want {
  /** Of the clock that only goes forward. */
  untilMs: number
  done(outcome: Outcome): void
}

interface Reservation {
  /** The units that are kept for it: none, where it was allowed without the ledger. */
  parts: LeasePart[]
  /** Of the clock that only goes forward. */
  expiresAtMs: number
  amount: number
}

export interface MeterOptions {
  /** Grows from call to call as long as the sidecar has one name: the ledger remembers longer than a meter lives. */
  nextSeq(): number
  /** Keeps what a crash may not take. Called before what it says happens. */
  keep?(record: MeterRecord): void
}

/** A journal is told exactly what was spent after so long without a use. */
const QUIET_MS = 100
/** So many are told in one question. */
const MOST_LATER_USES = 500
/** Uses of one minute are told as one. */
const MINUTE_MS = 60_000
/** Ahead of what is spent a journal is told so much of what was lent: it is written that much less often. */
const AHEAD = 16

export class Meter {
  /** In the order in which they came. */
  readonly #waiting = new Set<Waiting>()
  #askAgainAtMs = Number.NEGATIVE_INFINITY
  #pauseMs = ASKS_AGAIN_MS
  readonly #leases = new Leases()
  readonly #reservations = new Map<string, Reservation>()
  /** Counted without a lease: facts that the ledger has still to be told of. */
  #laterUses: LaterUse[] = []
  /** The last of them that a question named. */
  #toldLaterUse = 0
  /** By lease, how much the journal says may be spent. */
  #journaled = new Map<string, number>()
  readonly #nextSeq: () => number
  readonly #keep: MeterOptions['keep']
  /** The question that is under way, what it said was spent, and whether the customer's set has changed since. */
  #asked: { seq: number; spent: Map<string, number>; isOld: boolean } | undefined
  #reading: Pick<MeterReading, 'limit' | 'used' | 'resetsAtMs' | 'usageSeq'> | undefined
  #free = 0
  #recallable = 0
  #askedAtMs = Number.NEGATIVE_INFINITY
  #spentAtMs = Number.NEGATIVE_INFINITY
  #spentSinceAsked = 0
  #givesBack = false
  #isOld = false
  /** A question was not answered: what it may have been lent is to be given back. */
  #isUnsure = false
  /** The last question was not answered. */
  #isAway = false
  #refusedAtMs = Number.NEGATIVE_INFINITY
  /** The last count that was told beside the ledger's answers, and what is left by it. */
  #told: { usageSeq: number; remaining: number | undefined } = { usageSeq: 0, remaining: undefined }

  constructor({ nextSeq, keep }: MeterOptions) {
    this.#nextSeq = nextSeq
    this.#keep = keep
  }

  /** Takes up what another process of the same name had. @param atMs of a clock that only goes forward; `expiresAtMs` is of it, too. */
  restore({ leases, reservations, laterUses }: MeterRecord, atMs: number): void {
    for (const { id, ...reservation } of reservations) this.#reservations.set(id, reservation)
    this.#leases.restore(
      leases,
      reservations.flatMap(({ parts }) => parts),
    )
    this.#laterUses = laterUses.map((use) => ({ ...use }))
    this.#toldLaterUse = laterUses.at(-1)?.seq ?? 0
    this.#journaled = new Map(leases.map(({ id, spent }) => [id, spent]))
    this.#spentAtMs = atMs
    this.#isUnsure = true
  }

  record(): MeterRecord {
    const leases = this.#leases.all().map(({ id, spent, untilMs }) => ({ id, spent: Math.max(spent, this.#journaled.get(id) ?? 0), untilMs }))
    const reservations = [...this.#reservations].map(([id, reservation]) => ({ id, ...reservation }))
    return { leases, reservations, laterUses: this.#laterUses.map((use) => ({ ...use })) }
  }

  /** @param isExact otherwise somewhat more than was spent is noted, so that the next uses need no note. */
  #note(isExact: boolean): void {
    if (!this.#keep) return
    const journaled = this.#leases.all().map(({ id, spent, lent, kept }): [string, number] => {
      const known = this.#journaled.get(id) ?? 0
      return [id, isExact ? spent : spent <= known ? known : spent + Math.floor((lent - kept - spent) / AHEAD)]
    })
    this.#journaled = new Map(journaled)
    this.#keep(this.record())
  }

  /** What was spent is to be noted before it is told. */
  #noteSpent(): void {
    if (this.#keep && this.#leases.all().some(({ id, spent }) => spent > (this.#journaled.get(id) ?? 0))) this.#note(false)
  }

  /** To be called now and then: the journal is told exactly what was spent, when nothing is spent for a moment. */
  noteExactly(atMs: number): void {
    if (!this.#keep || atMs - this.#spentAtMs < QUIET_MS) return
    if (this.#leases.all().some(({ id, spent }) => (this.#journaled.get(id) ?? spent) > spent)) this.#note(true)
  }

  #take({ amount, reservation }: Want, atMs: number, runsBeyondMs: number): boolean {
    if (reservation) {
      const parts = this.#leases.keep(amount, runsBeyondMs)
      if (!parts) return false
      this.#reservations.set(reservation.id, { parts, expiresAtMs: reservation.expiresAtMs, amount })
      this.#note(false)
    } else {
      if (!this.#leases.spend(amount, runsBeyondMs)) return false
      this.#noteSpent()
    }
    this.#spentAtMs = atMs
    this.#spentSinceAsked += amount
    return true
  }

  /** Counts what has happened, whatever the limit says. @param nowMs in the customer's time. */
  #countLater(amount: number, nowMs: number): void {
    const last = this.#laterUses.at(-1)
    const isOfLast =
      last &&
      last.seq > this.#toldLaterUse &&
      Math.floor(last.atMs / MINUTE_MS) === Math.floor(nowMs / MINUTE_MS) &&
      !(this.#reading?.resetsAtMs && last.atMs < this.#reading.resetsAtMs && nowMs >= this.#reading.resetsAtMs)
    if (isOfLast) last.amount = plus(last.amount, amount)
    else this.#laterUses.push({ seq: this.#nextSeq(), amount, atMs: nowMs })
    this.#note(false)
  }

  /** The ledger cannot be asked: what is allowed then is counted, and told later. */
  #takeLater({ amount, reservation }: Want, nowMs: number): void {
    if (reservation) {
      this.#reservations.set(reservation.id, { parts: [], expiresAtMs: reservation.expiresAtMs, amount })
      this.#note(false)
    } else this.#countLater(amount, nowMs)
  }

  /**
   * Counts a use.
   * @param nowMs in the customer's time. @param atMs of a clock that only goes forward.
   * @returns undefined when the ledger has to be asked: `wait` for it.
   */
  use(want: Want, nowMs: number, atMs: number): 'allowed' | 'refused' | undefined {
    if (this.#takeHeld(want, nowMs, atMs)) return 'allowed'
    // A refusal is over when its window is.
    if (atMs - this.#refusedAtMs < REFUSAL_HOLDS_MS && this.reading(nowMs) && this.#isBeyond(want.amount)) return 'refused'
    if (!this.#isAway || want.whenAway === 'deny') return undefined
    this.#takeLater(want, nowMs)
    return 'allowed'
  }

  /** As `use`, where units are lent and nobody waits. */
  useHeld(amount: number, nowMs: number, atMs: number): boolean {
    return this.#takeHeld({ amount, whenAway: 'deny' }, nowMs, atMs)
  }

  #takeHeld(want: Want, nowMs: number, atMs: number): boolean {
    return this.#waiting.size === 0 && this.#take(want, atMs, nowMs + STOPS_BEFORE_MS)
  }

  /**
   * Has a use wait for the ledger's answer, or for units of others.
   * @param untilMs of the clock that only goes forward. @returns what ends the wait: nothing is counted then, and `done` is not called.
   */
  wait(want: Want, untilMs: number, done: (outcome: Outcome) => void): () => void {
    const one = { ...want, untilMs, done }
    this.#waiting.add(one)
    return () => void this.#waiting.delete(one)
  }

  /**
   * Ends a reservation: `amount` of it is counted, and the rest given back. What goes beyond it has happened, and is counted, too.
   * @param nowMs in the customer's time. @returns false when there is no such reservation.
   */
  commit(id: string, amount: number, nowMs: number): boolean {
    const reservation = this.#reservations.get(id)
    if (!reservation) return false
    this.#reservations.delete(id)
    const within = Math.min(amount, unitsOf(reservation.parts))
    this.#leases.settle(reservation.parts, within)
    this.#note(false)
    this.count(amount - within, nowMs)
    return true
  }

  /** @returns false when there is no such reservation. */
  release(id: string): boolean {
    const reservation = this.#reservations.get(id)
    if (!reservation) return false
    this.#reservations.delete(id)
    this.#leases.settle(reservation.parts, 0)
    this.#note(false)
    return true
  }

  /** Counts what has happened already: beyond what is lent, too. @param nowMs in the customer's time. */
  count(amount: number, nowMs: number): void {
    const lent = Math.min(amount, this.#leases.free(nowMs + STOPS_BEFORE_MS))
    if (lent > 0 && this.#leases.spend(lent, nowMs + STOPS_BEFORE_MS)) this.#noteSpent()
    if (amount > lent) this.#countLater(amount - lent, nowMs)
  }

  /** More is used than the limit allows, as far as it is known here. @param nowMs in the customer's time. */
  isOverLimit(nowMs: number): boolean {
    const reading = this.reading(nowMs)
    return reading !== undefined && reading.limit !== null && reading.used + reading.since > reading.limit
  }

  /** The ledger has still to be told of uses that no lease covers. */
  get owesWord(): boolean {
    return this.#laterUses.length > 0
  }

  get isWaitedFor(): boolean {
    return this.#waiting.size > 0
  }

  leases(): readonly Readonly<Held>[] {
    return this.#leases.all()
  }

  /** There is not so much, nor will there be, by what the ledger said last. */
  #isBeyond(amount: number): boolean {
    return this.#reading !== undefined && this.#reading.limit !== null && amount > this.#leases.free() + this.#free + this.#recallable
  }

  /** The customer's set has changed: with another limit, perhaps. The ledger lends by the one that is in force. */
  setChanged(): void {
    this.giveBack()
    if (this.#reading) this.#isOld = true
    // The ledger may have lent by the limit of before.
    if (this.#asked) this.#asked.isOld = true
  }

  /**
   * A later count is known than that of the ledger's last answer.
   * @param remaining what is left by it; undefined: there is no limit.
   */
  usageTold(usageSeq: number, remaining: number | undefined): void {
    if (usageSeq <= Math.max(this.#told.usageSeq, this.#reading?.usageSeq ?? 0)) return
    this.#told = { usageSeq, remaining }
    this.#refusedAtMs = Number.NEGATIVE_INFINITY
    // Somebody has counted beyond what was lent: a report, or a correction.
    this.#keepWithin(remaining)
  }

  #keepWithin(remaining: number | undefined): void {
    if (remaining !== undefined && this.#leases.free() > remaining) this.giveBack()
  }

  /** Others wait for units. @returns whether there are any to give back. */
  recall(): boolean {
    if (this.isWaitedFor || this.#leases.free() === 0) return false
    this.giveBack()
    return true
  }

  /** Nothing more is spent of what is left, and the next question gives it back. Reservations stay. */
  giveBack(): void {
    this.#refusedAtMs = Number.NEGATIVE_INFINITY
    if (this.#leases.giveBack()) this.#givesBack = true
  }

  /** The ledger is to be told something, though nobody waits: what was spent, or what is given back. */
  #isDue(nowMs: number, atMs: number): boolean {
    if (this.#givesBack || this.#isOld) return true
    if (this.#isUnsure) return atMs >= this.#askAgainAtMs
    if (this.#laterUses.some(({ seq }) => seq > this.#toldLaterUse)) return true
    if (atMs - this.#askedAtMs < REPORTS_EVERY_MS) return false
    const held = this.#leases.all()
    if (this.owesWord || held.some(({ spent, reported }) => spent > reported)) return true
    if (held.some(({ untilMs }) => untilMs <= nowMs)) return true
    if (this.#leases.free() > 0 && atMs - this.#spentAtMs > IDLE_MS) return true
    return held.some(({ lent, spent }) => lent > spent) && atMs - this.#askedAtMs > REPORT_AT_LEAST_EVERY_MS
  }

  /** Nobody waits, and the ledger knows all that there is to know: no more can be spent but what is reserved. */
  get isSettled(): boolean {
    return (
      this.#waiting.size === 0 &&
      this.#asked === undefined &&
      !this.#givesBack &&
      !this.#isOld &&
      !this.#isUnsure &&
      this.#laterUses.length === 0 &&
      this.#leases.isReported
    )
  }

  get isAtRest(): boolean {
    return this.isSettled && this.#reservations.size === 0 && this.#leases.isSpent
  }

  isIdle(atMs: number, idleMs: number): boolean {
    return this.isAtRest && atMs - Math.max(this.#spentAtMs, this.#askedAtMs) > idleMs
  }

  /** Once what comes of it is noted: a journal that cannot be told throws, and then it goes on waiting. */
  #end(one: Waiting, outcome: Outcome): void {
    this.#waiting.delete(one)
    one.done(outcome)
  }

  /** Nobody waits any longer than that, and nothing is reserved any longer. */
  #expire(atMs: number): void {
    for (const one of this.#waiting) if (one.untilMs <= atMs) this.#end(one, 'unavailable')
    for (const [id, { expiresAtMs }] of this.#reservations) if (expiresAtMs <= atMs) this.release(id)
  }

  /** The question that is to be asked now, if any. Until `answered` or `unanswered` there is no other. */
  next(nowMs: number, atMs: number): LedgerQuestion | undefined {
    this.#expire(atMs)
    if (this.#asked) return undefined
    const isWaitedFor = this.#waiting.size > 0 && atMs >= this.#askAgainAtMs
    if (!isWaitedFor && !this.#isDue(nowMs, atMs)) return undefined
    return this.#ask(atMs)
  }

  #ask(atMs: number): LedgerQuestion {
    const waiting = [...this.#waiting].map(({ amount }) => amount)
    const seq = this.#nextSeq()
    const isIdle = atMs - this.#spentAtMs > IDLE_MS
    if (isIdle) this.giveBack()
    const back = this.#givesBack
    this.#givesBack = false
    const left = this.#leases.free()
    const all = waiting.reduce((units, amount) => plus(units, amount), 0)
    const passedMs = Math.max(50, atMs - this.#askedAtMs)
    const rate = passedMs > 10 * LEASE_MS ? 0 : (this.#spentSinceAsked / passedMs) * LEASE_MS
    this.#askedAtMs = atMs
    this.#spentSinceAsked = 0
    const held = this.#leases.all()
    this.#asked = { seq, spent: new Map(held.map(({ id, spent }) => [id, spent])), isOld: false }
    const laterUses = this.#laterUses.slice(0, MOST_LATER_USES)
    this.#toldLaterUse = Math.max(this.#toldLaterUse, laterUses.at(-1)?.seq ?? 0)
    return {
      seq,
      least: all === 0 ? 0 : Math.max(0, Math.min(...waiting) - left),
      need: Math.max(0, all - left),
      want: back ? 0 : Math.max(0, Math.ceil(rate) - Math.max(0, left - all)),
      uses: held.map(({ id, spent, lent }) => ({ lease: id, spent, upTo: lent })),
      laterUses: laterUses.map((use) => ({ ...use })),
    }
  }

  /**
   * No answer came: the next question is a new one, and what this one was lent is given back by it. Who may be counted without
   * the ledger is.
   * @param nowMs in the customer's time.
   */
  unanswered(seq: number, nowMs: number, atMs: number): void {
    if (this.#asked?.seq !== seq) return
    this.#asked = undefined
    this.#isUnsure = true
    this.#isAway = true
    this.#askAgainLater(atMs)
    this.#allowWithoutLedger(nowMs)
  }

  /** Nobody has answered others, and this one's turn to ask does not come: who may be counted without the ledger is. */
  noLedger(nowMs: number): void {
    if (this.#asked) return
    this.#isAway = true
    this.#allowWithoutLedger(nowMs)
  }

  #allowWithoutLedger(nowMs: number): void {
    for (const one of this.#waiting) {
      if (one.whenAway === 'deny') continue
      this.#takeLater(one, nowMs)
      this.#end(one, 'allowed')
    }
  }

  #askAgainLater(atMs: number): void {
    this.#askAgainAtMs = atMs + this.#pauseMs
    this.#pauseMs = Math.min(ASKS_AGAIN_AT_MOST_MS, 2 * this.#pauseMs)
  }

  /** Who came first is served first; a use that is too large for what there is waits, and does not hold up smaller ones. */
  #serve(atMs: number): void {
    for (const one of this.#waiting) {
      // What the ledger has just lent is in the window that the ledger says, whatever time it is here.
      if (this.#take(one, atMs, Number.NEGATIVE_INFINITY)) this.#end(one, 'allowed')
      else if (this.#isBeyond(one.amount)) {
        this.#refusedAtMs = atMs
        this.#end(one, 'refused')
      }
    }
    if (this.#waiting.size === 0) this.#pauseMs = ASKS_AGAIN_MS
    else this.#askAgainLater(atMs)
  }

  /** @returns whether it was the answer to the last question; any other is of no use any more. */
  answered(answer: LedgerAnswer, atMs: number): boolean {
    const asked = this.#asked
    if (!asked || answer.seq !== asked.seq) return false
    this.#asked = undefined
    this.#leases.replace(answer.leases, asked.spent)
    const { limit, used, free, recallable, recall, resetsAtMs, laterUses, usageSeq } = answer
    this.#laterUses = this.#laterUses.filter(({ seq }) => seq > laterUses)
    this.#reading = { limit, used, resetsAtMs, usageSeq }
    this.#isOld = asked.isOld
    this.#isUnsure = false
    this.#isAway = false
    this.#free = free
    this.#recallable = recallable
    // What waits is decided by the answer to the next question, which is asked at once.
    if (!asked.isOld) this.#serve(atMs)
    if (recall || asked.isOld) this.giveBack()
    // Told while the question was under way: the answer does not know of it.
    if (this.#told.usageSeq > usageSeq) this.#keepWithin(this.#told.remaining)
    return true
  }

  /** Undefined: the ledger has not been asked in this window. @param nowMs in the customer's time. */
  reading(nowMs: number): MeterReading | undefined {
    if (!this.#reading || (this.#reading.resetsAtMs ?? Infinity) <= nowMs) return undefined
    const later = this.#laterUses.reduce((units, { amount }) => units + amount, 0)
    return { ...this.#reading, since: this.#leases.unreported() + later, isAsking: this.#asked !== undefined, isOld: this.#isOld }
  }
}
