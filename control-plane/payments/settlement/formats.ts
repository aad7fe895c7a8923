/**
 * The columns of settlement reports as CSV, by provider. Reading only: what a line means for a payment is decided
 * elsewhere.
 *
 * Sources: https://docs.stripe.com/reports/payout-reconciliation (itemized, with the metadata columns),
 * https://docs.adyen.com/reporting/settlement-reconciliation/transaction-level/settlement-details-report,
 * https://www.paypal.com/us/cshelp/article/help145 (activity download),
 * https://www.mercadopago.com/developers/en/docs/reports/account-money/report-fields; `tollgate`: docs/payments.md.
 */
import { isCurrency, MAX_AMOUNT_MINOR } from '../../../common/money.ts'
import { table } from '../../../common/table.ts'
import { fromDecimal } from '../psp/currency-exponents.ts'
import type { Provider } from '../psp/directory.ts'
import type { SettlementLine } from './line.ts'

export const reportFormats = ['tollgate', 'stripe', 'adyen', 'paypal', 'mercadopago'] as const
export type ReportFormat = (typeof reportFormats)[number]

export const formatOf = (provider: Provider | 'simulator'): ReportFormat => (provider === 'local' || provider === 'simulator' ? 'tollgate' : provider)

/** A row by its column names, as the header has them. */
export type ReportRow = Readonly<Record<string, string | undefined>>

/** The line that a row holds, or why it cannot be read; undefined for a row without a line, such as the payout itself. */
export type ParsedRow = { line: SettlementLine } | { malformed: string } | undefined

const kindsOfTollgate = table<SettlementLine['kind']>({ charge: 'charge', refund: 'refund', dispute: 'dispute', fee: 'fee', other: 'other' })

const kindsOfStripe = table<SettlementLine['kind']>({
  charge: 'charge',
  refund: 'refund',
  refund_failure: 'refund',
  partial_capture_reversal: 'refund',
  dispute: 'dispute',
  dispute_reversal: 'dispute',
  fee: 'fee',
  network_cost: 'fee',
})

const kindsOfAdyen = table<SettlementLine['kind']>({
  Settled: 'charge',
  SettledBulk: 'charge',
  Refunded: 'refund',
  RefundedReversed: 'refund',
  Chargeback: 'dispute',
  SecondChargeback: 'dispute',
  ChargebackReversed: 'dispute',
  Fee: 'fee',
  InvoiceDeduction: 'fee',
})

const kindsOfMercadopago = table<SettlementLine['kind']>({
  SETTLEMENT: 'charge',
  REFUND: 'refund',
  CHARGEBACK: 'dispute',
  DISPUTE: 'dispute',
})

const kindOfPaypal = (type: string): SettlementLine['kind'] => {
  if (/refund/i.test(type)) return 'refund'
  if (/chargeback|dispute|reversal/i.test(type)) return 'dispute'
  if (/payment/i.test(type)) return 'charge'
  return /fee/i.test(type) ? 'fee' : 'other'
}

/** A row that is not about a payment, for example the payout itself. */
const isPayout = (type: string): boolean => /^(payout|payout_reversal|MerchantPayout|WITHDRAWAL|General Withdrawal.*|Bank Deposit.*)$/i.test(type)

class Malformed extends Error {}

const text = (row: ReportRow, column: string): string => {
  const value = row[column]?.trim()
  if (!value) throw new Malformed(`${column} is empty or missing`)
  return value
}
const optional = (row: ReportRow, ...columns: string[]): string | undefined => columns.map((column) => row[column]?.trim()).find((value) => value)

const currencyIn = (row: ReportRow, column: string): string => {
  const currency = text(row, column).toUpperCase()
  if (!isCurrency(currency)) throw new Malformed(`${column} is not an ISO 4217 currency code`)
  return currency
}
/** `1,234.50` is how people write it; empty is none. A comma before anything but three digits would be a decimal one: that is not read. */
const amount = (row: ReportRow, column: string, currency: string): number => {
  const given = (row[column] ?? '').trim()
  const written = /^-?\d{1,3}(,\d{3})+(\.\d*)?$/.test(given) ? given.replaceAll(',', '') : given
  const minor = written === '' ? 0 : fromDecimal(written, currency)
  if (minor === undefined) throw new Malformed(`${column} is not an amount of ${currency}`)
  if (Math.abs(minor) > MAX_AMOUNT_MINOR) throw new Malformed(`${column} is larger than any amount that Tollgate accepts`)
  return minor
}
const dateIn = (row: ReportRow, column: string): Date | undefined => {
  const written = optional(row, column)
  if (written === undefined) return undefined
  // Without a zone it is UTC, as providers write it, and not the time of the machine that reads it.
  const hasZone = /(?:[zZ]|[+-]\d\d:?\d\d|[A-Z]{2,4})$/.test(written) || /^\d{4}-\d\d-\d\d$/.test(written)
  const iso = written.replace(/^(\d{4}-\d\d-\d\d) /, '$1T')
  const date = new Date(hasZone ? written : iso.includes('T') ? `${iso}Z` : `${written} UTC`)
  if (Number.isNaN(date.getTime())) throw new Malformed(`${column} is not a date`)
  return date
}

const readers: Record<ReportFormat, (row: ReportRow) => SettlementLine | undefined> = {
  tollgate: (row) => {
    const kind = kindsOfTollgate[text(row, 'type')]
    if (!kind) throw new Malformed('type must be charge, refund, dispute, fee or other')
    const currency = currencyIn(row, 'currency')
    return {
      kind,
      reference: optional(row, 'reference'),
      grossMinor: amount(row, 'gross', currency),
      feeMinor: amount(row, 'fee', currency),
      netMinor: amount(row, 'net', currency),
      currency,
      settledAt: dateIn(row, 'settled_at'),
    }
  },
  stripe: (row) => {
    const category = text(row, 'reporting_category')
    if (isPayout(category)) return undefined
    const currency = currencyIn(row, 'currency')
    const kind = kindsOfStripe[category] ?? 'other'
    return {
      kind,
      reference: optional(
        row,
        kind === 'refund' ? 'refund_metadata[tollgate_reference]' : 'payment_metadata[tollgate_reference]',
        'payment_metadata[tollgate_reference]',
      ),
      grossMinor: amount(row, 'gross', currency),
      feeMinor: amount(row, 'fee', currency),
      netMinor: amount(row, 'net', currency),
      currency,
      settledAt: dateIn(row, 'automatic_payout_effective_at'),
    }
  },
  adyen: (row) => {
    const type = text(row, 'Type')
    if (isPayout(type)) return undefined
    const currency = currencyIn(row, 'Net Currency')
    const kind = kindsOfAdyen[type] ?? 'other'
    const netMinor = amount(row, 'Net Credit (NC)', currency) - amount(row, 'Net Debit (NC)', currency)
    const feeMinor = ['Commission (NC)', 'Markup (NC)', 'Scheme Fees (NC)', 'Interchange (NC)'].reduce((sum, column) => sum + amount(row, column, currency), 0)
    const sameCurrency = optional(row, 'Gross Currency') === currency
    return {
      kind,
      reference: kind === 'refund' ? optional(row, 'Modification Merchant Reference', 'Merchant Reference') : optional(row, 'Merchant Reference'),
      // Gross is in the currency of the payment: only where that is the payout's do the columns add up.
      grossMinor: sameCurrency ? amount(row, 'Gross Credit (GC)', currency) - amount(row, 'Gross Debit (GC)', currency) : netMinor + feeMinor,
      feeMinor,
      netMinor,
      currency,
      settledAt: dateIn(row, 'Booking Date') ?? dateIn(row, 'Creation Date'),
    }
  },
  paypal: (row) => {
    const type = text(row, 'Type')
    if (isPayout(type)) return undefined
    const currency = currencyIn(row, 'Currency')
    return {
      kind: kindOfPaypal(type),
      reference: optional(row, 'Custom Number', 'Invoice Number'),
      grossMinor: amount(row, 'Gross', currency),
      // Written as what it takes away.
      feeMinor: -amount(row, 'Fee', currency) || 0,
      netMinor: amount(row, 'Net', currency),
      currency,
      settledAt: dateIn(row, 'Date'),
    }
  },
  mercadopago: (row) => {
    const type = text(row, 'TRANSACTION_TYPE')
    if (isPayout(type)) return undefined
    const currency = currencyIn(row, 'SETTLEMENT_CURRENCY')
    return {
      kind: kindsOfMercadopago[type] ?? 'other',
      reference: optional(row, 'EXTERNAL_REFERENCE'),
      grossMinor: amount(row, 'TRANSACTION_AMOUNT', currency),
      feeMinor: -amount(row, 'FEE_AMOUNT', currency) || 0,
      netMinor: amount(row, 'SETTLEMENT_NET_AMOUNT', currency),
      currency,
      settledAt: dateIn(row, 'SETTLEMENT_DATE'),
    }
  },
}

/** The columns without which a file is not a report of the format. */
const needed: Record<ReportFormat, string[]> = {
  tollgate: ['type', 'reference', 'currency', 'gross', 'fee', 'net'],
  stripe: ['reporting_category', 'currency', 'gross', 'fee', 'net', 'payment_metadata[tollgate_reference]'],
  adyen: ['Type', 'Merchant Reference', 'Net Currency', 'Net Credit (NC)', 'Net Debit (NC)'],
  paypal: ['Type', 'Currency', 'Gross', 'Fee', 'Net'],
  mercadopago: ['TRANSACTION_TYPE', 'EXTERNAL_REFERENCE', 'SETTLEMENT_CURRENCY', 'TRANSACTION_AMOUNT', 'SETTLEMENT_NET_AMOUNT'],
}

/** The columns that a file of this format lacks. */
export const missingColumns = (format: ReportFormat, columns: readonly string[]): string[] => needed[format].filter((name) => !columns.includes(name))

/** Never throws for what a row holds: it is `malformed` then. */
export const readRow = (format: ReportFormat, row: ReportRow): ParsedRow => {
  try {
    const line = readers[format](row)
    return line && { line }
  } catch (error) {
    if (error instanceof Malformed) return { malformed: error.message }
    throw error
  }
}
