/**
 * Sidecars that spend one quota of one customer, with the real ledger and the real meters, in a time of their own. What can go
 * wrong between processes does: messages are lost, late, repeated and overtaken; control planes die before and after their
 * write; sidecars die, with a journal or without, stand still and are cut off; clocks differ; limits change and windows end. Uses are
 * spent at once, or reserved and then committed, in part, with more than was reserved, too late, or not at all.
 */

import { deriveGrants } from '../../common/entitlements/derive.ts'
import type { Entitlement } from '../../common/entitlements/model.ts'
import type { LedgerAnswer, LedgerQuestion } from '../../common/metering/ledger-words.ts'
import { accessOfSubscription } from '../../control-plane/entitlements/subscription-access.ts'
import { askLedger, type Ledgers, spentEntries } from '../../control-plane/metering/ledger.ts'
import type { Subscription } from '../../control-plane/schemas/subscription.ts'
import { Meter, type MeterRecord, type Want } from '../../sidecar/metering/meter.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { subscriptionOf } from '../support/subscriptions.ts'

const KEY = 'calls'
const DAY_MS = 86_400_000

export interface Faults {
  lost: number
  repeated: number
  late: number
  /** Of a control plane, before its write or after it. */
  dies: number
  /** How often a second a sidecar dies, or is cut off for a while. */
  crashes: number
  cutOff: number
  /** Clocks of sidecars and control planes differ by so much at most. */
  skewMs: number
}

export interface Setting {
  seed: number
  sidecars: number
  limit: number
  /** Uses a second, over all sidecars. */
  rate: number
  largest: number
  forMs: number
  faults: Faults
  /** The limit changes so often. */
  changes: number
  /** A day's window ends in the middle. */
  windowEnds: boolean
  /** The limit is soft: nobody is refused. */
  soft: boolean
  /** This share of the uses is reserved first. */
  reserved: number
  /** This share of the sidecars that die have kept a journal. */
  journals: number
}

export interface Result {
  /** What was wrong, in words; empty: nothing. */
  wrong: string[]
  allowed: number
  refused: number
  unavailable: number
  questions: number
  left: number
}

interface Sidecar {
  name: string
  meter: Meter
  skewMs: number
  dead: boolean
  cutOffUntil: number
  /** What its journal says last. */
  record: MeterRecord | undefined
  hasJournal: boolean
  /** The ledger has not yet said what of its journal is so. */
  isUnsure: boolean
}

export const simulateMetering = (setting: Setting): Result => {
  const random = seededRandom(setting.seed)
  const chance = (share: number): boolean => random() < share
  const between = (from: number, to: number): number => from + random() * (to - from)
  const { faults } = setting
  const result: Result = { wrong: [], allowed: 0, refused: 0, unavailable: 0, questions: 0, left: 0 }
  const start = Date.UTC(2024, 2, 1)
  /** A day's windows: one ends in the middle, or none does. */
  const offset = setting.windowEnds ? DAY_MS - setting.forMs / 2 : DAY_MS / 2
  let limit = setting.limit
  const entitlements = (): Entitlement[] => [{ key: KEY, kind: 'quota', limit, per: 'day', ...(setting.soft ? { overage: 'allow' } : {}) }]
  const subscription = (): Subscription => subscriptionOf({ entitlements: entitlements(), timeZone: 'UTC', anchor: new Date(start) })
  let current = subscription()
  let ledgers: Ledgers = { entries: [], borrowers: [] }
  /** The highest limit that was in force in each window, by the end of the window. */
  const highest = new Map<number, number>()
  const noteLimit = (untilMs: number) => highest.set(untilMs, Math.max(highest.get(untilMs) ?? 0, limit))

  // Events in virtual time.
  let nowMs = 0
  const queue: { at: number; n: number; run: () => void }[] = []
  let made = 0
  const after = (ms: number, run: () => void) => {
    made += 1
    const event = { at: nowMs + ms, n: made, run }
    let low = 0
    for (let high = queue.length; low < high; ) {
      const middle = (low + high) >>> 1
      const other = queue[middle] as typeof event
      if (other.at < event.at || (other.at === event.at && other.n < event.n)) low = middle + 1
      else high = middle
    }
    queue.splice(low, 0, event)
  }

  let named = 0
  let seq = 0
  /** @param of the sidecar whose journal it finds. */
  const begin = (of?: Sidecar): Sidecar => {
    if (!of) named += 1
    const keep = (record: MeterRecord) => {
      made.record = structuredClone(record)
    }
    const hasJournal = chance(setting.journals)
    const made: Sidecar = {
      name: of?.name ?? `s${named}`,
      meter: new Meter({ nextSeq: () => (seq += 1), ...(hasJournal || of ? { keep } : {}) }),
      skewMs: between(-faults.skewMs, faults.skewMs),
      dead: false,
      cutOffUntil: 0,
      record: of?.record,
      hasJournal: hasJournal || of !== undefined,
      isUnsure: of?.record !== undefined,
    }
    if (of?.record) made.meter.restore(of.record, nowMs)
    return made
  }
  const sidecars: Sidecar[] = Array.from({ length: setting.sidecars }, () => begin())
  const all: Sidecar[] = [...sidecars]
  const timeOf = ({ skewMs }: Sidecar): number => start + offset + nowMs + skewMs

  /** Really spent, by sidecar and lease: also of what the meter no longer holds. */
  const spent = new Map<string, { units: number; untilMs: number }>()
  const note = ({ name, meter, isUnsure }: Sidecar) => {
    if (isUnsure) return
    for (const lease of meter.leases()) spent.set(`${name} ${lease.id}`, { units: lease.spent, untilMs: lease.untilMs })
  }
  const spentUntil = (untilMs: number): number => [...spent.values()].reduce((sum, one) => sum + (one.untilMs === untilMs ? one.units : 0), 0)
  const windows = (): Set<number> => new Set([...spent.values()].map(({ untilMs }) => untilMs))
  const check = (when: string) => {
    for (const untilMs of windows()) {
      const units = spentUntil(untilMs)
      const most = highest.get(untilMs) ?? 0
      if (units > most && !setting.soft) result.wrong.push(`${when}: ${units} spent of ${most} in the window until ${new Date(untilMs).toISOString()}`)
    }
  }

  const atLedger = (sidecar: string, question: LedgerQuestion, store: boolean): LedgerAnswer => {
    const at = new Date(start + offset + nowMs + between(-faults.skewMs, faults.skewMs))
    const [grant] = deriveGrants([accessOfSubscription(current)])
    if (!grant) throw new Error('nothing is granted')
    const held = [{ grant, holder: current }]
    const lentTo = ({ borrowers }: Ledgers) => borrowers.reduce((sum, { leases }) => sum + leases.reduce((units, { lent }) => units + lent, 0), 0)
    const before = lentTo(ledgers)
    const asked = askLedger(ledgers, sidecar, question, { key: KEY, held, current: held, holders: [current], now: at, systemNow: at })
    result.questions += 1
    if (store) {
      ledgers = asked.ledgers
      for (const { untilMs } of asked.answer.leases) noteLimit(untilMs)
      const { used } = ledgers.entries.findLast(({ until }) => until && until > at) ?? { used: 0 }
      const lends = lentTo(ledgers) > before
      if (lends && used > limit && !setting.soft) result.wrong.push(`lent beyond the limit: ${used} of ${limit}`)
    }
    return asked.answer
  }

  const drive = (sidecar: Sidecar): void => {
    if (sidecar.dead) return
    const question = sidecar.meter.next(timeOf(sidecar), nowMs)
    note(sidecar)
    if (!question) return
    const delay = () => (chance(faults.late) ? between(5, 2_500) : between(0.5, 3))
    const isOff = () => sidecar.cutOffUntil > nowMs || chance(faults.lost)
    const reach = () => {
      if (isOff()) return
      const dies = chance(faults.dies)
      const stores = !dies || chance(0.5)
      const answer = atLedger(sidecar.name, question, stores)
      if (dies || isOff()) return
      after(delay(), () => {
        if (sidecar.dead) return
        if (sidecar.meter.answered(answer, nowMs)) sidecar.isUnsure = false
        note(sidecar)
        check('after an answer')
        drive(sidecar)
      })
    }
    after(delay(), reach)
    if (chance(faults.repeated)) after(between(0, 4_000), reach)
    after(300, () => {
      if (sidecar.dead) return
      sidecar.meter.unanswered(question.seq, timeOf(sidecar), nowMs)
      drive(sidecar)
    })
  }

  const finish = (sidecar: Sidecar, amount: number, outcome: 'allowed' | 'refused' | 'unavailable') => {
    if (outcome === 'unavailable') result.unavailable += 1
    else if (outcome === 'allowed') result.allowed += amount
    else {
      result.refused += 1
      if (setting.soft) result.wrong.push('refused by a soft limit')
      // Where nothing goes wrong, and all uses are of one unit, a refusal means that every unit is spent.
      note(sidecar)
      const calm = Object.values(faults).every((share) => share === 0) && setting.changes === 0 && setting.largest === 1
      const total = [...spent.values()].reduce((sum, { units }) => sum + units, 0)
      if (calm && !setting.windowEnds && total < limit) result.wrong.push(`refused while ${limit - total} of ${limit} are left`)
    }
  }

  let uses = 0
  /** Counted beyond what was lent, by the instant at which it was. */
  const later: { amount: number; atMs: number }[] = []
  const endReservation = (sidecar: Sidecar, id: string, amount: number) => {
    // Its caller finds the process that runs now.
    const { meter } = sidecars.find(({ name, dead }) => name === sidecar.name && !dead) ?? sidecar
    if (sidecar.dead && meter === sidecar.meter) return
    if (chance(0.3)) return void (chance(0.5) && meter.release(id))
    const committed = Math.floor(amount * between(0, 1.6))
    const owed = () => meter.record().laterUses.reduce((sum, one) => sum + one.amount, 0)
    const before = owed()
    if (!meter.commit(id, committed, timeOf(sidecar))) meter.count(committed, timeOf(sidecar))
    result.allowed += committed
    // Units of a lease whose window is over stay used there.
    const beyond = owed() - before
    if (beyond > 0) later.push({ amount: beyond, atMs: timeOf(sidecar) })
    note(sidecar)
  }

  const use = (): void => {
    const sidecar = sidecars[Math.floor(random() ** 2 * sidecars.length)] as Sidecar
    const amount = 1 + Math.floor(random() * setting.largest)
    uses += 1
    const id = chance(setting.reserved) ? `r${uses}` : undefined
    const want: Want = { amount, whenAway: 'deny', ...(id === undefined ? {} : { reservation: { id, expiresAtMs: nowMs + 1_500 } }) }
    const end = (outcome: 'allowed' | 'refused' | 'unavailable') => {
      finish(sidecar, id === undefined ? amount : 0, outcome)
      if (id !== undefined && outcome === 'allowed') after(between(0, 2_500), () => endReservation(sidecar, id, amount))
    }
    const outcome = sidecar.meter.use(want, timeOf(sidecar), nowMs)
    if (outcome) end(outcome)
    else {
      const cancel = sidecar.meter.wait(want, nowMs + 3_000, end)
      if (chance(0.01)) after(between(0, 20), cancel)
    }
    note(sidecar)
    drive(sidecar)
    if (nowMs < setting.forMs) after((-Math.log(1 - random()) * 1_000) / setting.rate, use)
  }

  const tick = () => {
    for (const sidecar of sidecars) {
      sidecar.meter.noteExactly(nowMs)
      drive(sidecar)
    }
    if (nowMs < setting.forMs + 30_000) after(50, tick)
  }

  const disturb = () => {
    const n = Math.floor(random() * sidecars.length)
    if (chance(faults.crashes)) {
      const old = sidecars[n] as Sidecar
      note(old)
      old.dead = true
      for (const { id, spent: units } of old.hasJournal ? old.meter.leases() : []) {
        const written = old.record?.leases.find((one) => one.id === id)?.spent ?? 0
        if (written < units) result.wrong.push(`${units} of ${id} spent, and only ${written} in the journal`)
      }
      const next = old.hasJournal ? begin(old) : begin()
      sidecars[n] = next
      all.push(next)
    }
    if (chance(faults.cutOff)) (sidecars[n] as Sidecar).cutOffUntil = nowMs + between(100, 15_000)
    if (chance(setting.changes)) {
      limit = Math.floor(setting.limit * between(0.5, 1.5))
      current = subscription()
      for (const sidecar of sidecars)
        after(between(1, 200), () => {
          sidecar.meter.giveBack()
          drive(sidecar)
        })
    }
    if (nowMs < setting.forMs) after(1_000, disturb)
  }

  after(0, use)
  after(0, tick)
  after(1_000, disturb)
  for (let event = queue.shift(); event; event = queue.shift()) {
    nowMs = event.at
    event.run()
  }
  check('at the end')
  for (const sidecar of sidecars) if (sidecar.meter.isWaitedFor) result.wrong.push(`${sidecar.name}: somebody waits for ever`)

  // What the ledger has counted in the window that runs: every use, and of sidecars that are gone what they were lent.
  const end = new Date(start + offset + nowMs)
  const entry = ledgers.entries.findLast(({ until }) => until && until > end)
  if (entry?.until) {
    const really = spentUntil(entry.until.getTime())
    const lostUnits = entry.used - really
    const ofWindow = later.filter(({ atMs }) => atMs >= (entry.until as Date).getTime() - DAY_MS && atMs < (entry.until as Date).getTime())
    const told = ofWindow.reduce((sum, { amount }) => sum + amount, 0)
    const silent = all.some(({ dead, hasJournal }) => dead && !hasJournal)
    if (!silent && faults.skewMs === 0 && lostUnits < told) result.wrong.push(`${really} spent and ${told} counted later, but only ${entry.used} counted`)
    if (lostUnits < 0) result.wrong.push(`${really} spent, but only ${entry.used} counted`)
    const gone = all.some(({ dead }) => dead) || faults.cutOff > 0 || faults.skewMs > 0
    if (lostUnits > told && !gone && setting.changes === 0) result.wrong.push(`${entry.used} counted, but only ${really} spent`)
    const shown = spentEntries(ledgers, end, end).findLast(({ until }) => until && until > end)
    if (shown && shown.used > entry.used) result.wrong.push('more is shown than counted')
    result.left = limit - entry.used
  }
  return result
}
