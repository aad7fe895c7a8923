/**
 * Takes a settlement report in, line by line as it arrives, so that its size does not matter. Lines that match are kept
 * with their payments, what differs is listed. An import that was cut off is made again under the same id: what it has
 * done already is not done twice.
 */

import { pipeline, Readable } from 'node:stream'
import { CsvError, parse } from 'csv-parse'
import pMap from 'p-map'
import { defined } from '../../../common/defined.ts'
import { AppError, fieldError } from '../../../common/errors.ts'
import { mustNotBeEnding } from '../../catalog/tenants.ts'
import type { Payment } from '../../schemas/payment.ts'
import type { SettlementDifference, SettlementReport } from '../../schemas/settlement-report.ts'
import { every } from '../../storage/every.ts'
import { insertOrGet, update } from '../../storage/update.ts'
import type { TenantScope } from '../../tenant-scope.ts'
import { isSettled, recordSettlement } from '../machine/settlements.ts'
import { missingColumns, type ParsedRow, type ReportFormat, type ReportRow, readRow } from './formats.ts'
import type { SettlementLine } from './line.ts'
import { matchLine, paymentIdOfLine } from './match-line.ts'

/** Lines that wait for storage at once. */
const AT_ONCE = 8
/** Longer than any line; bounds what is held of a file that is none. */
const MAX_RECORD_BYTES = 64 * 1024

export interface ReportInput {
  id: string
  account: string
  /** The payments that it should cover, by when they were made. */
  from?: Date | undefined
  to?: Date | undefined
}

/** The caller's knowledge of an import that was begun before. */
export interface ReportCheck {
  /** There must be one. */
  mustExist: boolean
  check(report: SettlementReport): void
}

/** The file is not a report of its format. */
class WrongFile extends Error {}

type NewDifference = Pick<SettlementDifference, 'kind' | 'why' | 'type' | 'reference' | 'paymentId' | 'line'>

/** Each is kept as a difference; a file of which so many cannot be read is another file than it is said to be. */
const MOST_MALFORMED = 1_000

/** Sums in a document of its own: a report is one file, and one process reads it. */
class Tally {
  lines = 0
  matched = 0
  differences = 0
  readonly totals = new Map<string, { grossMinor: number; feeMinor: number; netMinor: number }>()

  add({ currency, grossMinor, feeMinor, netMinor }: SettlementLine): void {
    const sum = this.totals.get(currency) ?? { grossMinor: 0, feeMinor: 0, netMinor: 0 }
    this.totals.set(currency, { grossMinor: sum.grossMinor + grossMinor, feeMinor: sum.feeMinor + feeMinor, netMinor: sum.netMinor + netMinor })
  }
}

/** So many lines apart it is asked whether the tenant is there still. */
const LOOK_EVERY = 100

/** @throws AppError `unknown_reference`, `already_exists` or `invalid_request`. */
const openReport = async (of: TenantScope, input: ReportInput, { mustExist, check }: ReportCheck): Promise<SettlementReport> => {
  const { tenantId } = of
  const known = await of.storage.pspAccounts.find(of.keys.pspAccount(input.account))
  if (!known && of.tenant.mode === 'live') throw fieldError('unknown_reference', 'account', `there is no PSP account ${JSON.stringify(input.account)}`)
  if (input.from && input.to && input.from >= input.to) throw fieldError('invalid_request', 'to', 'must be after from')
  const { settlementReports } = of.storage
  const _id = of.keys.settlementReport(input.id)
  const begun = await settlementReports.find(_id)
  const mayGoOn = (report: SettlementReport): void => {
    check(report)
    if (report.status === 'done') throw new AppError('already_exists', 'a settlement report with this id was already imported')
    if (report.account !== input.account) throw fieldError('invalid_request', 'account', `must be ${report.account}, as when this import began`)
  }
  if (begun) {
    // Of two that begin it anew from the same revision one is told.
    return update(settlementReports, _id, (report) => {
      mayGoOn(report)
      return { ...report, status: 'importing' as const }
    })
  }
  if (mustExist) throw new AppError('precondition_failed', 'there is no settlement report with this id')
  const report = await insertOrGet(settlementReports, {
    _id,
    tenantId,
    createdAt: of.now(),
    ...defined(input),
    status: 'importing',
    lines: 0,
    matched: 0,
    differences: 0,
    totals: [],
  })
  mayGoOn(report)
  return report
}

const importLines = async (of: TenantScope, report: SettlementReport, reads: AsyncIterable<ParsedRow>): Promise<Tally> => {
  const { tenantId } = of
  const { payments, settlementDifferences } = of.storage
  const tally = new Tally()
  let malformed = 0

  const note = async (difference: NewDifference, nth: number): Promise<void> => {
    tally.differences += 1
    const place = difference.line === undefined ? `missing-${difference.paymentId}` : `${String(difference.line).padStart(10, '0')}-${nth}`
    await insertOrGet(settlementDifferences, {
      _id: of.keys.settlementDifference(report.id, place),
      tenantId,
      createdAt: report.createdAt,
      reportId: report.id,
      ...difference,
    })
  }
  const take = async ({ read, number }: { read: ParsedRow; number: number }): Promise<void> => {
    if (!read) return
    tally.lines += 1
    if ('malformed' in read) {
      malformed += 1
      if (malformed > MOST_MALFORMED) throw new WrongFile(`more than ${MOST_MALFORMED} lines cannot be read, the last since ${read.malformed}`)
      return note({ line: number, kind: 'malformed', why: read.malformed }, 0)
    }
    const { line } = read
    tally.add(line)
    const paymentId = paymentIdOfLine(line)
    await inTurn(paymentId, async () => {
      const { payment, matched, differences } = await matchAndRecord(line, `${report.id}/${number}`, paymentId)
      if (matched) tally.matched += 1
      for (const [n, difference] of differences.entries()) {
        await note(defined({ ...difference, line: number, type: line.kind, reference: line.reference, paymentId: payment?.id }), n)
      }
    })
  }
  /** Matched against the payment as it is when the line is kept with it. */
  const matchAndRecord = async (line: SettlementLine, id: string, paymentId: string | undefined) => {
    const payment = paymentId === undefined ? undefined : await payments.find(of.keys.payment(paymentId))
    let match = matchLine(line, id, report.account, payment)
    if (!payment) return { payment, ...match }
    const { kind, reference = '', grossMinor, feeMinor, netMinor, currency, settledAt } = line
    await update(
      payments,
      payment._id,
      (latest) => {
        match = matchLine(line, id, report.account, latest)
        return match.matched ? recordSettlement(latest, defined({ id, kind, reference, grossMinor, feeMinor, netMinor, currency, settledAt })) : undefined
      },
      payment,
    )
    return { payment, ...match }
  }
  /** Lines of one payment one after another: of two that settle it, the first does. */
  const turns = new Map<string, Promise<void>>()
  const inTurn = async (paymentId = '', work: () => Promise<void>): Promise<void> => {
    const mine = (turns.get(paymentId) ?? Promise.resolve()).then(work)
    turns.set(paymentId, mine)
    try {
      await mine
    } finally {
      if (turns.get(paymentId) === mine) turns.delete(paymentId)
    }
  }

  // A file may take an hour to arrive.
  const look = async () => mustNotBeEnding(await of.storage.tenants.get(of.keys.tenant()))
  await pMap(numbered(reads, look), take, { concurrency: AT_ONCE })
  for await (const payment of unsettled(of, report)) {
    await note({ kind: 'missing', why: 'it succeeded in the time of this report, and no report has settled it', paymentId: payment.id }, 0)
  }
  return tally
}

/** @param look is asked before each hundredth, and no other is begun until it has answered: the order of lines is that of their work. */
async function* numbered(reads: AsyncIterable<ParsedRow>, look: () => Promise<void>): AsyncGenerator<{ read: ParsedRow; number: number }> {
  let number = 0
  for await (const read of reads) {
    number += 1
    if (number % LOOK_EVERY === 0) await look()
    yield { read, number }
  }
}

/** Payments at the report's account that were made in its time and that no report has. */
async function* unsettled(of: TenantScope, { account, from, to }: SettlementReport): AsyncGenerator<Payment> {
  if (!from || !to) return
  for await (const payment of every(of.storage.payments, { tenantId: of.tenantId }, { from })) {
    if (payment.createdAt >= to) return
    if (payment.attempts.some((attempt) => attempt.account === account && attempt.status === 'succeeded') && !isSettled(payment)) yield payment
  }
}

/** @throws AppError as `openReport`; `invalid_request` when the report cannot be read to its end: importing it again goes on. */
const importReport = async (of: TenantScope, input: ReportInput, check: ReportCheck, reads: AsyncIterable<ParsedRow>): Promise<SettlementReport> => {
  const report = await openReport(of, input, check)
  const { settlementReports } = of.storage
  try {
    const { lines, matched, differences, totals } = await importLines(of, report, reads)
    const sums = [...totals].map(([currency, sum]) => ({ currency, ...sum }))
    return await update(settlementReports, report._id, ({ why: _, ...latest }) => ({
      ...latest,
      status: 'done',
      lines,
      matched,
      differences,
      totals: sums as SettlementReport['totals'],
      finishedAt: of.now(),
    }))
  } catch (error) {
    const unreadable = error instanceof CsvError || error instanceof WrongFile
    const why = unreadable ? `the CSV cannot be read: ${error.message}` : 'the import was cut off'
    await update(settlementReports, report._id, (latest) => (latest.status === 'done' ? undefined : { ...latest, status: 'failed' as const, why }))
    if (unreadable) throw new AppError('invalid_request', why, [], { cause: error })
    throw error
  }
}

/** Imports lines that the caller has read itself. @throws AppError as `importCsv`. */
export const importLinesOf = (of: TenantScope, input: ReportInput, check: ReportCheck, lines: SettlementLine[]): Promise<SettlementReport> =>
  importReport(of, input, check, Readable.from(lines.map((line): ParsedRow => ({ line }))))

/**
 * Imports a report of any length; importing it again goes on where it was cut off.
 * @param csv with a header; separated by commas or semicolons.
 * @throws AppError `unknown_reference`, `already_exists`, or `invalid_request` when the file cannot be read to its end.
 */
export const importCsv = (of: TenantScope, input: ReportInput, check: ReportCheck, format: ReportFormat, csv: Readable): Promise<SettlementReport> =>
  importReport(of, input, check, readCsv(csv, format))

const NEWLINE = 10

/** The columns are separated by what the header has more of. @throws WrongFile when no line ends. */
const delimiterOf = (start: Buffer): string => {
  const [header = ''] = start.toString().split('\n', 1)
  return (header.match(/;/g)?.length ?? 0) > (header.match(/,/g)?.length ?? 0) ? ';' : ','
}

/** Begins to read when the first row is asked for, so that whoever asks is there when it cannot be read. */
async function* readCsv(csv: Readable, format: ReportFormat): AsyncGenerator<ParsedRow> {
  const chunks = csv[Symbol.asyncIterator]() as AsyncIterator<Buffer | string>
  let start = Buffer.alloc(0)
  let ended = false
  while (!ended && !start.includes(NEWLINE) && start.length < MAX_RECORD_BYTES) {
    const { value, done } = await chunks.next()
    if (value) start = Buffer.concat([start, Buffer.from(value)])
    ended = done === true
  }
  const rows = parse({
    columns: (header: string[]) => {
      const missing = missingColumns(format, header)
      if (missing.length > 0) throw new WrongFile(`it lacks the columns ${missing.join(', ')} of the format ${format}; name another format with ?format=`)
      return header
    },
    bom: true,
    trim: true,
    skip_empty_lines: true,
    delimiter: delimiterOf(start),
    max_record_size: MAX_RECORD_BYTES,
  })
  const whole = async function* () {
    yield start
    if (!ended) for await (const chunk of { [Symbol.asyncIterator]: () => chunks }) yield chunk
  }
  // The error of either end reaches whoever reads the rows.
  pipeline(Readable.from(whole()), rows, () => undefined)
  let read = 0
  for await (const row of rows as AsyncIterable<ReportRow>) {
    read += 1
    yield readRow(format, row)
  }
  if (read === 0) throw new WrongFile('it has no lines')
}
