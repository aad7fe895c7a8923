/** The meters of a sidecar: asks ledgers when meters have something to ask, and gives back what is lent when it closes. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Clock } from '../../common/clock.ts'
import type { CustomerKey } from '../../common/entitlements/model.ts'
import { isAppError } from '../../common/errors.ts'
import type { Faults } from '../../common/faults.ts'
import type { AskedLedger } from '../../common/metering/ledger-wire.ts'
import type { LedgerAnswer } from '../../common/metering/ledger-words.ts'
import { type Journal, type JournalEntry, noJournal } from './journal.ts'
import { Meter, type MeterReading, type MeterRecord, type Outcome, type Want } from './meter.ts'

/** A customer's set, and its time. */
export interface MeteredSet extends CustomerKey {
  revision: number
  /** The count that its usage is of. */
  usageSeq?: number
  sandbox: boolean
}

/** What is known here of quotas. */
export interface Readings {
  /** Undefined where nothing of it was counted here in this window. @param nowMs in the customer's time. */
  reading(set: MeteredSet, entitlement: string, nowMs: number): MeterReading | undefined
  /** How many there are. */
  size(): number
}

export interface MeteredUse extends Pick<Want, 'amount' | 'whenAway'> {
  entitlement: string
  /** What is left by the set; undefined: there is no limit. */
  remaining?: number | undefined
  /** In the customer's time. */
  nowMs: number
  /** How long units are waited for, in epoch milliseconds. */
  untilMs: number
  /** The units are kept under this id, until so long in epoch milliseconds. */
  reservation?: { id: string; expiresAtMs: number }
  /** When it aborts, nothing is counted. */
  signal?: AbortSignal
}

export interface MeterStats {
  size: number
  /** Asked since the start, and those that were not answered. */
  questions: number
  unanswered: number
}

/** What names a quota at its meter. */
export type MeteredKey = Pick<JournalEntry, 'customer' | 'entitlement' | 'sandbox'>

export interface CountedHeld {
  /** As `Readings` has it. */
  reading: MeterReading | undefined
}

/** The short way of a use: where units are lent, nothing is waited for, and hardly anything is made. */
export interface HeldUnits {
  /**
   * @returns what is known of the quota after the use; undefined where it was not counted: `consume` says then what comes of it.
   */
  consumeHeld(set: MeteredSet, entitlement: string, amount: number, remaining: number | undefined, nowMs: number): CountedHeld | undefined
}

export interface Meters extends Readings, HeldUnits {
  /**
   * Counts a use of a quota that the customer's set grants, or reserves it.
   * @returns at once where units are lent. @throws the signal's reason.
   */
  consume(set: MeteredSet, use: MeteredUse): Outcome | Promise<Outcome>
  /**
   * Counts `amount`, which may be more than was reserved: of the reservation as far as it goes, where it is still there.
   * @param untilMs how long it may take to learn whether the limit was passed, in epoch milliseconds.
   */
  commit(of: MeteredKey, id: string, amount: number, untilMs: number): Promise<{ overLimit: boolean }>
  release(of: MeteredKey, id: string): void
  /** Somebody waits for units of these quotas: what is lent here and not needed now goes back at once. */
  recall(customer: CustomerKey, keys: readonly string[]): void
  /** Reservations that a process before left, with their units. */
  readonly found: readonly (MeteredKey & { id: string; amount: number; expiresAtMs: number })[]
  stats(): MeterStats
  /** Readings that have changed since the last call, by their keys. */
  changed(): [key: string, reading: KeptReading | undefined][]
  /** Gives back what is lent, as far as the ledgers answer within two seconds. */
  close(): Promise<void>
}

export interface MetersOptions {
  /** @throws AppError `unavailable`. */
  ask(asked: AskedLedger, timeoutMs: number): Promise<LedgerAnswer>
  clock: Clock
  faults: Faults
  journal?: Journal
  /** Somebody will call `changed`. */
  tellsChanges?: boolean
}

/** A reading, and the revision of the set that it goes with. */
export interface KeptReading {
  reading: MeterReading
  revision: number
}

interface Metered extends MeteredKey {
  key: string
  meter: Meter
  /** Of the set that the last use was decided by. */
  revision: number
  /** The time of a sandbox, as of the last use; a live customer's is this system's. */
  sandboxMs: number | undefined
}

/** How often meters are looked at; those that wait ask again as soon as they may. */
const LOOKS_EVERY_MS = 25
const ANSWERS_WITHIN_MS = 2_000
const FORGOTTEN_AFTER_MS = 60_000
/** Each takes about a kilobyte. Beyond it, uses of further quotas are told that nobody can say. */
const MAX_METERS = 200_000
/** When there are so many, those that are at rest make room: looking for them takes a while. */
const MAKES_ROOM_EVERY_MS = 250
/** Questions under way at once; the others wait for their turn. */
const MAX_QUESTIONS = 256
const CLOSES_WITHIN_MS = 2_000

export const meteredKeyOf = ({ tenantId, storefrontId, customerId }: CustomerKey, entitlement: string): string =>
  JSON.stringify([tenantId, storefrontId, customerId, entitlement])

const customerOf = ({ tenantId, storefrontId, customerId }: CustomerKey): CustomerKey => ({ tenantId, storefrontId, customerId })

export const createMeters = ({ ask, clock, faults, journal = noJournal(), tellsChanges = false }: MetersOptions): Meters => {
  const meters = new Map<string, Metered>()
  /** Those that are not at rest. */
  const busy = new Set<Metered>()
  const changed = new Set<string>()
  let questions = 0
  let madeRoomAtMs = Number.NEGATIVE_INFINITY
  let [asked, unanswered] = [0, 0]
  /** Whoever was asked last has not answered. */
  let isAway = false
  /** Of a clock that only goes forward. */
  const atMs = (): number => performance.now()
  const timeOf = ({ sandboxMs }: Metered): number => sandboxMs ?? clock.nowMs()

  /** The journal goes by the system's clock: the other one begins anew with each process. */
  const movedBy = (record: MeterRecord, ms: number): MeterRecord => ({
    ...record,
    reservations: record.reservations.map((one) => ({ ...one, expiresAtMs: one.expiresAtMs + ms })),
  })
  const entryOf = ({ customer, entitlement, sandbox }: MeteredKey, record: MeterRecord): JournalEntry => ({
    ...movedBy(record, clock.nowMs() - atMs()),
    customer,
    entitlement,
    sandbox,
  })

  const add = (of: MeteredKey, revision: number, sandboxMs: number | undefined): Metered => {
    const keep = (record: MeterRecord): void => journal.keep(entryOf(of, record))
    const meter = new Meter({ nextSeq: journal.nextSeq, ...(journal.isKept ? { keep } : {}) })
    const made = { ...of, key: meteredKeyOf(of.customer, of.entitlement), meter, revision, sandboxMs }
    meters.set(made.key, made)
    return made
  }

  const drive = (one: Metered): void => {
    if (tellsChanges) changed.add(one.key)
    if (questions >= MAX_QUESTIONS) {
      if (isAway) one.meter.noLedger(timeOf(one))
      return
    }
    const question = one.meter.next(timeOf(one), atMs())
    if (!question) return
    questions += 1
    asked += 1
    const { customer, entitlement } = one
    ask({ customer, entitlement, sidecar: journal.sidecar, question }, ANSWERS_WITHIN_MS)
      .then(
        (answer) => {
          isAway = false
          if (one.meter.answered(answer, atMs())) return
          faults.tell(
            new Error(`the ledger has answered question ${answer.seq}, and is asked ${question.seq}`),
            'two sidecars have one name: a journal was copied',
          )
          unanswered += 1
          one.meter.unanswered(question.seq, timeOf(one), atMs())
        },
        (error: unknown) => {
          isAway = true
          if (!isAppError(error, 'unavailable')) faults.tell(error, 'a ledger could not be asked')
          unanswered += 1
          one.meter.unanswered(question.seq, timeOf(one), atMs())
        },
      )
      .finally(() => {
        questions -= 1
        drive(one)
      })
      .catch((error: unknown) => faults.tell(error, 'a meter failed'))
  }

  const look = (): void => {
    for (const one of busy) {
      drive(one)
      one.meter.noteExactly(atMs())
      if (one.meter.isAtRest) busy.delete(one)
    }
  }
  const entries = function* (): Generator<JournalEntry> {
    for (const one of busy) yield entryOf(one, one.meter.record())
  }
  const tidy = (): void => {
    try {
      look()
      journal.compact(entries)
    } catch (error) {
      faults.tell(error, 'the meters failed')
    }
  }
  const forget = (idleMs = FORGOTTEN_AFTER_MS): void => {
    for (const [key, one] of meters) {
      if (busy.has(one) || !one.meter.isIdle(atMs(), idleMs)) continue
      meters.delete(key)
      if (tellsChanges) changed.add(key)
    }
  }
  const looking = setInterval(tidy, LOOKS_EVERY_MS).unref()
  const forgetting = setInterval(() => forget(), FORGOTTEN_AFTER_MS).unref()

  const noteSet = (one: Metered, revision: number): void => {
    if (one.revision === revision) return
    one.revision = revision
    one.meter.setChanged()
    busy.add(one)
    drive(one)
  }

  const meterOf = (set: MeteredSet, entitlement: string, nowMs: number): Metered | undefined => {
    const known = meters.get(meteredKeyOf(set, entitlement))
    if (known) {
      known.sandboxMs = set.sandbox ? nowMs : undefined
      noteSet(known, set.revision)
      return known
    }
    if (meters.size >= MAX_METERS && atMs() - madeRoomAtMs > MAKES_ROOM_EVERY_MS) {
      madeRoomAtMs = atMs()
      forget(0)
    }
    if (meters.size >= MAX_METERS) return undefined
    return add({ customer: customerOf(set), entitlement, sandbox: set.sandbox }, set.revision, set.sandbox ? nowMs : undefined)
  }

  /** Of a quota whose set is not at hand; a sandbox's time is what it was. */
  const meterFor = (of: MeteredKey): Metered => meters.get(meteredKeyOf(of.customer, of.entitlement)) ?? add(of, 0, undefined)

  const until = async (isDone: () => boolean, latestMs: number): Promise<void> => {
    while (!isDone() && atMs() < latestMs) await sleep(2, undefined, { ref: false })
  }

  const found = journal.found.flatMap((entry) => {
    const { customer, entitlement, sandbox, ...record } = entry
    const one = add({ customer, entitlement, sandbox }, 0, undefined)
    one.meter.restore(movedBy(record, atMs() - clock.nowMs()), atMs())
    busy.add(one)
    return record.reservations.map(({ id, expiresAtMs, amount }) => ({ customer, entitlement, sandbox, id, expiresAtMs, amount }))
  })

  return {
    consume: (set, { entitlement, amount, nowMs, untilMs, signal, whenAway, reservation, remaining }) => {
      const one = meterOf(set, entitlement, nowMs)
      if (!one) return 'unavailable'
      one.meter.usageTold(set.usageSeq ?? 0, remaining)
      busy.add(one)
      const now = atMs()
      const want: Want = { amount, whenAway }
      if (reservation) want.reservation = { id: reservation.id, expiresAtMs: now + reservation.expiresAtMs - clock.nowMs() }
      const outcome = one.meter.use(want, nowMs, now)
      if (outcome) {
        drive(one)
        return outcome
      }
      signal?.throwIfAborted()
      return new Promise<Outcome>((resolve, reject) => {
        const hangUp = () => {
          cancel()
          reject(signal?.reason)
        }
        const cancel = one.meter.wait(want, now + Math.max(0, untilMs - clock.nowMs()), (late) => {
          signal?.removeEventListener('abort', hangUp)
          resolve(late)
        })
        signal?.addEventListener('abort', hangUp, { once: true })
        drive(one)
      })
    },
    consumeHeld: (set, entitlement, amount, remaining, nowMs) => {
      const one = meters.get(meteredKeyOf(set, entitlement))
      if (!one || one.revision !== set.revision) return undefined
      one.meter.usageTold(set.usageSeq ?? 0, remaining)
      if (!one.meter.useHeld(amount, nowMs, atMs())) return undefined
      busy.add(one)
      if (tellsChanges) changed.add(one.key)
      return { reading: one.meter.reading(nowMs) }
    },
    commit: async (of, id, amount, untilMs) => {
      const one = meterFor(of)
      const { meter } = one
      busy.add(one)
      if (!meter.commit(id, amount, timeOf(one))) meter.count(amount, timeOf(one))
      drive(one)
      // What no lease covers is beyond the limit, or not: the ledger says.
      await until(() => !meter.owesWord, atMs() + Math.max(0, untilMs - clock.nowMs()))
      return { overLimit: meter.isOverLimit(timeOf(one)) }
    },
    release: (of, id) => {
      const one = meterFor(of)
      busy.add(one)
      one.meter.release(id)
      drive(one)
    },
    recall: (customer, keys) => {
      for (const key of keys) {
        const one = meters.get(meteredKeyOf(customer, key))
        if (!one?.meter.recall()) continue
        busy.add(one)
        drive(one)
      }
    },
    found,
    reading: (set, entitlement, nowMs) => {
      const one = meters.size === 0 ? undefined : meters.get(meteredKeyOf(set, entitlement))
      if (!one) return undefined
      noteSet(one, set.revision)
      return one.meter.reading(nowMs)
    },
    size: () => meters.size,
    stats: () => ({ size: meters.size, questions: asked, unanswered }),
    changed: () => {
      const all = [...changed].map((key): [string, KeptReading | undefined] => {
        const one = meters.get(key)
        const reading = one?.meter.reading(timeOf(one))
        return [key, one && reading && { reading, revision: one.revision }]
      })
      changed.clear()
      return all
    },
    close: async () => {
      clearInterval(forgetting)
      for (const { meter } of busy) {
        // The next process finds in the journal what is reserved.
        if (!journal.isKept) for (const { id } of meter.record().reservations) meter.release(id)
        meter.giveBack()
      }
      const isGivenBack = () => questions === 0 && [...busy].every(({ meter }) => meter.isSettled)
      const latestMs = atMs() + CLOSES_WITHIN_MS
      while (!isGivenBack() && atMs() < latestMs) {
        look()
        await sleep(LOOKS_EVERY_MS, undefined, { ref: false })
      }
      clearInterval(looking)
      journal.close()
    },
  }
}
