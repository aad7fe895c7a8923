/**
 * What a sidecar may not forget when it crashes: what it was lent and has spent, what is reserved, and what it has still to
 * tell. One line of JSON per record; the last one of a quota counts, and a line that a crash has torn is not there.
 *
 * Records are written before what they say happens, and somewhat ahead: `spent` is what may have been spent by then. They are not
 * forced to the disk. When the whole machine has gone down, the last ones may be missing: then leases are left as they are, and
 * count as spent.
 */
import { randomUUID } from 'node:crypto'
import { closeSync, fstatSync, openSync, readFileSync, renameSync, rmSync, statSync, writeSync } from 'node:fs'
import { systemClock } from '../../common/clock.ts'
import { type Config, ConfigError } from '../../common/config.ts'
import type { CustomerKey } from '../../common/entitlements/model.ts'
import { AppError } from '../../common/errors.ts'
import type { Log } from '../../common/log.ts'
import { z } from '../../common/zod.ts'
import type { MeterRecord } from './meter.ts'

/** One quota of one customer; `expiresAtMs` of reservations is in epoch milliseconds here. */
export interface JournalEntry extends MeterRecord {
  customer: CustomerKey
  entitlement: string
  sandbox: boolean
}

export interface Journal {
  /** Whether it outlives the process. */
  readonly isKept: boolean
  /** The name of the sidecar at ledgers: that of the process before, where it left a journal. */
  readonly sidecar: string
  /** What the process before had not finished. */
  readonly found: readonly JournalEntry[]
  /** Grows from call to call, and from process to process. */
  nextSeq(): number
  /** @throws AppError `unavailable` when another process has taken the journal over. */
  keep(entry: JournalEntry): void
  /** To be called now and then: writes the file anew when most of it is of no use any more. @param live all that matters. */
  compact(live: () => Iterable<JournalEntry>): void
  close(): void
}

const VERSION = 2
/** Numbers that are set aside at once. */
const SEQS = 10_000
const SEQS_AFTER_A_START = 1_000_000_000
const COMPACTS_FROM_BYTES = 4 * 2 ** 20

const count = z.int().min(0)
const head = z.object({ v: z.literal(VERSION), sidecar: z.string(), boot: z.string() })
const line = z.union([
  z.object({ seq: count }),
  z.object({
    of: z.tuple([z.string(), z.string(), z.string(), z.string()]),
    sandbox: z.boolean(),
    leases: z.array(z.tuple([z.string(), count, z.number()])),
    reserved: z.array(z.tuple([z.string(), z.array(z.tuple([z.string(), count])), z.number(), count])),
    later: z.array(z.tuple([count, count, z.number()])),
  }),
])
type Line = z.infer<typeof line>

const toLine = ({ customer, entitlement, sandbox, leases, reservations, laterUses }: JournalEntry): Line => ({
  of: [customer.tenantId, customer.storefrontId, customer.customerId, entitlement],
  sandbox,
  leases: leases.map(({ id, spent, untilMs }) => [id, spent, untilMs]),
  reserved: reservations.map(({ id, parts, expiresAtMs, amount }) => [id, parts.map(({ lease, units }) => [lease, units]), expiresAtMs, amount]),
  later: laterUses.map(({ seq, amount, atMs }) => [seq, amount, atMs]),
})

const fromLine = ({ of, sandbox, leases, reserved, later }: Extract<Line, { of: unknown }>): JournalEntry => ({
  customer: { tenantId: of[0], storefrontId: of[1], customerId: of[2] },
  entitlement: of[3],
  sandbox,
  leases: leases.map(([id, spent, untilMs]) => ({ id, spent, untilMs })),
  reservations: reserved.map(([id, parts, expiresAtMs, amount]) => ({ id, parts: parts.map(([lease, units]) => ({ lease, units })), expiresAtMs, amount })),
  laterUses: later.map(([seq, amount, atMs]) => ({ seq, amount, atMs })),
})

const isOver = ({ leases, reservations, laterUses }: JournalEntry): boolean => leases.length === 0 && reservations.length === 0 && laterUses.length === 0

/** Names this start of the machine, where it can be told; empty elsewhere. */
const bootId = (): string => {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  } catch {
    return ''
  }
}

/** @returns how many bytes. @throws Error also where the disk takes a part of it: the next record would be spoiled, too. */
const write = (fd: number, text: string): number => {
  const bytes = Buffer.from(text)
  if (writeSync(fd, bytes) < bytes.length) throw new Error('the disk is full')
  return bytes.length
}

interface Found {
  sidecar: string
  seq: number
  entries: JournalEntry[]
}

/** @returns undefined for a file that is not there, or is no journal. */
const read = (path: string, log: Log): Found | undefined => {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') log.error({ err: error, file: path }, 'the journal cannot be read, and is begun anew')
    return undefined
  }
  const parsed = text.split('\n').map((one): unknown => {
    try {
      return JSON.parse(one)
    } catch {
      return undefined
    }
  })
  const first = head.safeParse(parsed[0])
  if (!first.success) {
    if (text !== '') log.error({ file: path }, 'the journal is of another version or damaged, and is begun anew: what it says was lent counts as used')
    return undefined
  }
  const entries = new Map<string, JournalEntry>()
  let seq = 0
  for (const one of parsed.slice(1)) {
    const { success, data } = line.safeParse(one)
    if (!success) continue
    if ('seq' in data) seq = Math.max(seq, data.seq)
    else entries.set(JSON.stringify(data.of), fromLine(data))
  }
  const { sidecar, boot } = first.data
  const isWhole = boot === bootId()
  if (!isWhole) log.warn({ file: path }, 'the machine has been started anew since the journal was written: what it says was lent counts as used')
  const all = [...entries.values()].map((entry) => (isWhole ? entry : { ...entry, leases: [], reservations: [] }))
  // Numbers that were set aside may be among what is missing.
  return { sidecar, seq: isWhole ? seq : seq + SEQS_AFTER_A_START, entries: all.filter((entry) => !isOver(entry)) }
}

/** @throws Error when the file cannot be written. */
export const openJournal = (path: string, log: Log): Journal => {
  const before = read(path, log)
  const sidecar = before?.sidecar ?? randomUUID()
  const found = before?.entries ?? []
  // Later than every number of before by the clock, too: the file may be a copy that was put back, and older than what ledgers have heard.
  let seq = Math.max(before?.seq ?? 0, systemClock.nowMs() * 1_000)
  let setAside = seq
  let fd = -1
  let inode = 0
  let bytes = 0
  let compactAt = COMPACTS_FROM_BYTES
  let isBroken = false

  const begin = (entries: Iterable<JournalEntry>): void => {
    const text = [{ v: VERSION, sidecar, boot: bootId() }, { seq: setAside }, ...[...entries].map(toLine)].map((one) => `${JSON.stringify(one)}\n`).join('')
    const made = openSync(`${path}.new`, 'w', 0o600)
    bytes = write(made, text)
    renameSync(`${path}.new`, path)
    if (fd >= 0) closeSync(fd)
    fd = made
    inode = fstatSync(fd).ino
    compactAt = Math.max(COMPACTS_FROM_BYTES, 2 * bytes)
  }

  const mustBeOurs = (): void => {
    const now = statSync(path, { throwIfNoEntry: false })
    if (now?.ino === inode) return
    throw new AppError('unavailable', 'another process has taken over the journal of this sidecar: give each its own JOURNAL_FILE')
  }

  /** One that cannot be written says something wrong to the next process: it is taken away. */
  const giveUp = (error: unknown): void => {
    isBroken = true
    log.error({ err: error, file: path }, 'the journal cannot be written: after a crash, what was lent counts as used until the end of its period')
    rmSync(path, { force: true })
  }

  const append = (one: Line): void => {
    if (isBroken) return
    mustBeOurs()
    try {
      bytes += write(fd, `${JSON.stringify(one)}\n`)
    } catch (error) {
      giveUp(error)
    }
  }

  begin(found)
  return {
    isKept: true,
    sidecar,
    found,
    nextSeq: () => {
      seq += 1
      if (seq > setAside) {
        setAside = seq + SEQS
        append({ seq: setAside })
      }
      return seq
    },
    keep: (entry) => append(toLine(entry)),
    compact: (live) => {
      if (isBroken || bytes < compactAt) return
      mustBeOurs()
      try {
        begin(live())
      } catch (error) {
        giveUp(error)
      }
    },
    close: () => {
      if (fd >= 0) closeSync(fd)
      fd = -1
      isBroken = true
    },
  }
}

/** For a sidecar that keeps none: each process has a name of its own. */
export const noJournal = (): Journal => {
  let seq = 0
  return {
    isKept: false,
    sidecar: randomUUID(),
    found: [],
    nextSeq: () => {
      seq += 1
      return seq
    },
    keep: () => {},
    compact: () => {},
    close: () => {},
  }
}

/** Where the configuration says so; otherwise beside the snapshot. @throws ConfigError when it cannot be written. */
export const openJournalOf = ({ JOURNAL_FILE, SNAPSHOT_FILE }: Pick<Config, 'JOURNAL_FILE' | 'SNAPSHOT_FILE'>, log: Log): Journal => {
  const path = JOURNAL_FILE ?? (SNAPSHOT_FILE === undefined ? undefined : `${SNAPSHOT_FILE}.journal`)
  if (path === undefined) return noJournal()
  try {
    return openJournal(path, log)
  } catch (error) {
    throw new ConfigError(`JOURNAL_FILE: ${path} cannot be written: ${error instanceof Error ? error.message : String(error)}`)
  }
}
