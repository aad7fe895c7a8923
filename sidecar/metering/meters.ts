/** The meters of a sidecar: asks ledgers when meters have something to ask, and gives back what is lent when it closes. */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Clock } from '../../common/clock.ts'
import type { CustomerKey } from '../../common/entitlements/model.ts'
import { isAppError } from '../../common/errors.ts'
import type { Faults } from '../../common/faults.ts'
import type { AskedLedger } from '../../common/metering/ledger-wire.ts'
import type { LedgerAnswer } from '../../common/metering/ledger-words.ts'
import { Meter, type MeterReading, type Outcome } from './meter.ts'

/** A customer's set, and its time. */
export interface MeteredSet extends CustomerKey {
  revision: number
  sandbox: boolean
}

export interface Meters {
  /**
   * Counts a use of a quota that the customer's set grants.
   * @param use.untilMs how long units are waited for, in epoch milliseconds. When `signal` aborts, nothing is counted.
   * @returns at once where units are lent. @throws the signal's reason.
   */
  consume(set: MeteredSet, use: { entitlement: string; amount: number; nowMs: number; untilMs: number; signal?: AbortSignal }): Outcome | Promise<Outcome>
  /** What is known here of a quota; undefined where nothing of it was counted here in this window. */
  reading(set: MeteredSet, entitlement: string, nowMs: number): MeterReading | undefined
  /** How many there are. */
  size(): number
  /** Gives back what is lent, as far as the ledgers answer within two seconds. */
  close(): Promise<void>
}

export interface MetersOptions {
  /** @throws AppError `unavailable`. */
  ask(asked: AskedLedger, timeoutMs: number): Promise<LedgerAnswer>
  clock: Clock
  faults: Faults
}

interface Metered {
  meter: Meter
  customer: CustomerKey
  entitlement: string
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
/** Questions under way at once; the others wait for their turn. */
const MAX_QUESTIONS = 256
const CLOSES_WITHIN_MS = 2_000

const keyOf = ({ tenantId, storefrontId, customerId }: CustomerKey, entitlement: string): string =>
  JSON.stringify([tenantId, storefrontId, customerId, entitlement])

export const createMeters = ({ ask, clock, faults }: MetersOptions): Meters => {
  const sidecar = randomUUID()
  const meters = new Map<string, Metered>()
  /** Those that are not at rest. */
  const busy = new Set<Metered>()
  let seq = 0
  let questions = 0
  const nextSeq = (): number => {
    seq += 1
    return seq
  }
  /** Of a clock that only goes forward. */
  const atMs = (): number => performance.now()
  const timeOf = ({ sandboxMs }: Metered): number => sandboxMs ?? clock.nowMs()

  const drive = (one: Metered): void => {
    if (questions >= MAX_QUESTIONS) return
    const question = one.meter.next(timeOf(one), atMs())
    if (!question) return
    questions += 1
    const { customer, entitlement } = one
    ask({ customer, entitlement, sidecar, question }, ANSWERS_WITHIN_MS)
      .then(
        (answer) => void one.meter.answered(answer, atMs()),
        (error: unknown) => {
          if (!isAppError(error, 'unavailable')) faults.tell(error, 'a ledger could not be asked')
          one.meter.unanswered(question.seq, atMs())
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
      if (one.meter.isAtRest) busy.delete(one)
    }
  }
  const forget = (): void => {
    for (const [key, one] of meters) if (!busy.has(one) && one.meter.isIdle(atMs(), FORGOTTEN_AFTER_MS)) meters.delete(key)
  }
  const looking = setInterval(look, LOOKS_EVERY_MS).unref()
  const forgetting = setInterval(forget, FORGOTTEN_AFTER_MS).unref()

  const noteSet = (one: Metered, { revision }: MeteredSet): void => {
    if (one.revision === revision) return
    one.revision = revision
    one.meter.setChanged()
    busy.add(one)
    drive(one)
  }

  const meterOf = (set: MeteredSet, entitlement: string, nowMs: number): Metered | undefined => {
    const key = keyOf(set, entitlement)
    const known = meters.get(key)
    if (known) {
      known.sandboxMs = set.sandbox ? nowMs : undefined
      noteSet(known, set)
      return known
    }
    if (meters.size >= MAX_METERS) return undefined
    const { tenantId, storefrontId, customerId, revision } = set
    const made = {
      meter: new Meter(nextSeq),
      customer: { tenantId, storefrontId, customerId },
      entitlement,
      revision,
      sandboxMs: set.sandbox ? nowMs : undefined,
    }
    meters.set(key, made)
    return made
  }

  return {
    consume: (set, { entitlement, amount, nowMs, untilMs, signal }) => {
      const one = meterOf(set, entitlement, nowMs)
      if (!one) return 'unavailable'
      busy.add(one)
      const now = atMs()
      const outcome = one.meter.use(amount, nowMs, now)
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
        const cancel = one.meter.wait(amount, now + Math.max(0, untilMs - clock.nowMs()), (late) => {
          signal?.removeEventListener('abort', hangUp)
          resolve(late)
        })
        signal?.addEventListener('abort', hangUp, { once: true })
        drive(one)
      })
    },
    reading: (set, entitlement, nowMs) => {
      const one = meters.size === 0 ? undefined : meters.get(keyOf(set, entitlement))
      if (!one) return undefined
      noteSet(one, set)
      return one.meter.reading(nowMs)
    },
    size: () => meters.size,
    close: async () => {
      clearInterval(forgetting)
      for (const one of busy) one.meter.giveBack()
      const latestMs = atMs() + CLOSES_WITHIN_MS
      const isGivenBack = () => questions === 0 && [...busy].every(({ meter }) => meter.isAtRest)
      while (!isGivenBack() && atMs() < latestMs) {
        look()
        await sleep(LOOKS_EVERY_MS, undefined, { ref: false })
      }
      clearInterval(looking)
    },
  }
}
