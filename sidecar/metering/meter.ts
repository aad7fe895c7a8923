/**
 * What a sidecar may spend of one quota of one customer, and what it asks the ledger for. Knows no time but what it is told, and
 * sends nothing: `meters.ts` does. What the numbers mean is said in `control-plane/metering/ledger.ts`.
 */
import type { LedgerAnswer, LedgerQuestion } from '../../common/metering/ledger-words.ts'

interface Held {
  id: string
  lent: number
  spent: number
  /** What the ledger has been told of, and has answered. */
  reported: number
  untilMs: number
}

/** What is known of the quota, as an answer shows it. */
export interface MeterReading {
  /** Null: unlimited. */
  limit: number | null
  used: number
  resetsAtMs: number | undefined
  /** The customer's set has changed since the ledger said so. */
  isOld: boolean
}

/**
 * From so long before the end of a window, by the sidecar's clock, uses are counted by the ledger alone, whose clock decides in
 * which window they fall.
 */
const STOPS_BEFORE_MS = 1_000
/** A lease is for about a second's uses. */
const LEASE_MS = 1_000
/** What is not spent for so long is given back. */
const IDLE_MS = 2_000
/** The ledger takes a sidecar for away after ten seconds. */
const REPORT_AT_LEAST_EVERY_MS = 3_000
/** Uses that wait for units of others are asked for again after so long at first, and twice as long each time. */
const ASKS_AGAIN_MS = 10
const ASKS_AGAIN_AT_MOST_MS = 100
/** What was spent is told so often. */
const REPORTS_EVERY_MS = 500
/** A refusal holds for so long, unless the customer's set changes: who asks on is not answered by a question each. */
const REFUSAL_HOLDS_MS = 200

/** `unavailable`: nobody could say in time. */
export type Outcome = 'allowed' | 'refused' | 'unavailable'

interface Waiting {
  amount: number
  /** Of the clock that only goes forward. */
  untilMs: number
  done(outcome: Outcome): void
}

export class Meter {
  #waiting: Waiting[] = []
  #askAgainAtMs = Number.NEGATIVE_INFINITY
  #pauseMs = ASKS_AGAIN_MS
  #held: Held[] = []
  readonly #nextSeq: () => number
  /** The question that is under way, and what it said was spent. */
  #asked: { seq: number; spent: Map<string, number> } | undefined
  #reading: Omit<MeterReading, 'isOld'> | undefined
  #free = 0
  #recallable = 0
  #askedAtMs = Number.NEGATIVE_INFINITY
  #spentAtMs = Number.NEGATIVE_INFINITY
  #spentSinceAsked = 0
  #givesBack = false
  #isOld = false
  /** A question was not answered: what it may have been lent is to be given back. */
  #isUnsure = false
  #refusedAtMs = Number.NEGATIVE_INFINITY

  /** @param nextSeq grows from call to call as long as the sidecar has one name: the ledger remembers longer than a meter lives. */
  constructor(nextSeq: () => number) {
    this.#nextSeq = nextSeq
  }

  /** What can be spent at once. @param runsBeyondMs only leases whose window ends later. */
  #available(runsBeyondMs: number): number {
    let units = 0
    for (const { lent, spent, untilMs } of this.#held) if (untilMs > runsBeyondMs) units += lent - spent
    return units
  }

  #spend(amount: number, atMs: number, runsBeyondMs: number): boolean {
    if (this.#available(runsBeyondMs) < amount) return false
    let left = amount
    for (const held of this.#held) {
      if (held.untilMs <= runsBeyondMs) continue
      const units = Math.min(left, held.lent - held.spent)
      held.spent += units
      left -= units
    }
    this.#spentAtMs = atMs
    this.#spentSinceAsked += amount
    return true
  }

  /**
   * Counts a use.
   * @param nowMs in the customer's time. @param atMs of a clock that only goes forward.
   * @returns undefined when the ledger has to be asked: `wait` for it.
   */
  use(amount: number, nowMs: number, atMs: number): 'allowed' | 'refused' | undefined {
    if (this.#waiting.length === 0 && this.#spend(amount, atMs, nowMs + STOPS_BEFORE_MS)) return 'allowed'
    if (atMs - this.#refusedAtMs < REFUSAL_HOLDS_MS && this.#isBeyond(amount)) return 'refused'
    return undefined
  }

  /**
   * Has a use wait for the ledger's answer, or for units of others.
   * @param untilMs of the clock that only goes forward. @returns what ends the wait: nothing is counted then, and `done` is not called.
   */
  wait(amount: number, untilMs: number, done: (outcome: Outcome) => void): () => void {
    const one = { amount, untilMs, done }
    this.#waiting.push(one)
    return () => {
      this.#waiting = this.#waiting.filter((other) => other !== one)
    }
  }

  get isWaitedFor(): boolean {
    return this.#waiting.length > 0
  }

  leases(): readonly Readonly<Held>[] {
    return this.#held
  }

  /** There is not so much, nor will there be, by what the ledger said last. */
  #isBeyond(amount: number): boolean {
    return this.#reading !== undefined && this.#reading.limit !== null && amount > this.#available(Number.NEGATIVE_INFINITY) + this.#free + this.#recallable
  }

  /** The customer's set has changed: with another limit, perhaps. The ledger lends by the one that is in force. */
  setChanged(): void {
    this.giveBack()
    if (this.#reading) this.#isOld = true
  }

  /** Nothing more is spent of what is left, and the next question gives it back. */
  giveBack(): void {
    this.#refusedAtMs = Number.NEGATIVE_INFINITY
    for (const held of this.#held) {
      if (held.lent > held.spent) this.#givesBack = true
      held.lent = held.spent
    }
  }

  /** The ledger is to be told something, though nobody waits: what was spent, or what is given back. */
  #isDue(nowMs: number, atMs: number): boolean {
    const holds = this.#held.some(({ lent, spent }) => lent > spent)
    if (this.#givesBack || this.#isOld) return true
    if (this.#isUnsure) return atMs >= this.#askAgainAtMs
    if (atMs - this.#askedAtMs < REPORTS_EVERY_MS) return false
    if (this.#held.some(({ spent, reported }) => spent > reported)) return true
    if (this.#held.some(({ untilMs }) => untilMs <= nowMs)) return true
    return holds && (atMs - this.#spentAtMs > IDLE_MS || atMs - this.#askedAtMs > REPORT_AT_LEAST_EVERY_MS)
  }

  /** Nobody waits, nothing can be spent, and the ledger knows all that there is to know. */
  get isAtRest(): boolean {
    return (
      this.#waiting.length === 0 &&
      this.#asked === undefined &&
      !this.#givesBack &&
      !this.#isOld &&
      !this.#isUnsure &&
      this.#held.every(({ lent, spent, reported }) => lent === spent && spent === reported)
    )
  }

  isIdle(atMs: number, idleMs: number): boolean {
    return this.isAtRest && atMs - Math.max(this.#spentAtMs, this.#askedAtMs) > idleMs
  }

  /** Nobody waits any longer than that. */
  #giveUp(atMs: number): void {
    const late = this.#waiting.filter(({ untilMs }) => untilMs <= atMs)
    if (late.length === 0) return
    this.#waiting = this.#waiting.filter(({ untilMs }) => untilMs > atMs)
    for (const { done } of late) done('unavailable')
  }

  /** The question that is to be asked now, if any. Until `answered` or `unanswered` there is no other. */
  next(nowMs: number, atMs: number): LedgerQuestion | undefined {
    this.#giveUp(atMs)
    if (this.#asked) return undefined
    const isWaitedFor = this.#waiting.length > 0 && atMs >= this.#askAgainAtMs
    if (!isWaitedFor && !this.#isDue(nowMs, atMs)) return undefined
    return this.#ask(atMs)
  }

  #ask(atMs: number): LedgerQuestion {
    const waiting = this.#waiting.map(({ amount }) => amount)
    const seq = this.#nextSeq()
    const isIdle = atMs - this.#spentAtMs > IDLE_MS
    if (isIdle) this.giveBack()
    const back = this.#givesBack
    this.#givesBack = false
    const left = this.#held.reduce((units, { lent, spent }) => units + lent - spent, 0)
    const all = waiting.reduce((units, amount) => units + amount, 0)
    const passedMs = Math.max(50, atMs - this.#askedAtMs)
    const rate = passedMs > 10 * LEASE_MS ? 0 : (this.#spentSinceAsked / passedMs) * LEASE_MS
    this.#askedAtMs = atMs
    this.#spentSinceAsked = 0
    this.#asked = { seq, spent: new Map(this.#held.map(({ id, spent }) => [id, spent])) }
    return {
      seq,
      least: all === 0 ? 0 : Math.max(0, Math.min(...waiting) - left),
      need: Math.max(0, all - left),
      want: back ? 0 : Math.max(0, Math.ceil(rate) - Math.max(0, left - all)),
      uses: this.#held.map(({ id, spent, lent }) => ({ lease: id, spent, upTo: lent })),
    }
  }

  /** No answer came: the next question is a new one, and what this one was lent is given back by it. */
  unanswered(seq: number, atMs: number): void {
    if (this.#asked?.seq !== seq) return
    this.#asked = undefined
    this.#isUnsure = true
    this.#askAgainLater(atMs)
  }

  #askAgainLater(atMs: number): void {
    this.#askAgainAtMs = atMs + this.#pauseMs
    this.#pauseMs = Math.min(ASKS_AGAIN_AT_MOST_MS, 2 * this.#pauseMs)
  }

  /** Who came first is served first; a use that is too large for what there is waits, and does not hold up smaller ones. */
  #serve(atMs: number): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const one of waiting) {
      // What the ledger has just lent is in the window that the ledger says, whatever time it is here.
      if (this.#spend(one.amount, atMs, Number.NEGATIVE_INFINITY)) one.done('allowed')
      else if (this.#isBeyond(one.amount)) {
        this.#refusedAtMs = atMs
        one.done('refused')
      } else this.#waiting.push(one)
    }
    if (this.#waiting.length === 0) this.#pauseMs = ASKS_AGAIN_MS
    else this.#askAgainLater(atMs)
  }

  /** @returns whether it was the answer to the last question; any other is of no use any more. */
  answered(answer: LedgerAnswer, atMs: number): boolean {
    const asked = this.#asked
    if (!asked || answer.seq !== asked.seq) return false
    this.#asked = undefined
    this.#held = answer.leases.map(({ id, lent, spent, untilMs }) => {
      const known = this.#held.find((one) => one.id === id)
      const reported = Math.max(spent, asked.spent.get(id) ?? 0)
      return { id, lent, untilMs, spent: Math.max(reported, known?.spent ?? 0), reported }
    })
    const { limit, used, free, recallable, recall, resetsAtMs } = answer
    this.#reading = { limit, used, resetsAtMs }
    this.#isOld = false
    this.#isUnsure = false
    this.#free = free
    this.#recallable = recallable
    this.#serve(atMs)
    if (recall) this.giveBack()
    return true
  }

  /** With what was spent here since the ledger answered. Undefined: it has not been asked in this window. @param nowMs in the customer's time. */
  reading(nowMs: number): MeterReading | undefined {
    if (!this.#reading || (this.#reading.resetsAtMs ?? Infinity) <= nowMs) return undefined
    const since = this.#held.reduce((units, { spent, reported }) => units + spent - reported, 0)
    return { ...this.#reading, used: this.#reading.used + since, isOld: this.#isOld }
  }
}
