/** A row of each provider's settlement report, as its documentation has the columns. */
import test from 'ava'
import { type ReportFormat, type ReportRow, readRow } from '../../control-plane/payments/settlement/formats.ts'

const rows: [format: ReportFormat, row: ReportRow, expected: object | undefined][] = [
  [
    'stripe',
    {
      balance_transaction_id: 'txn_1',
      reporting_category: 'charge',
      currency: 'usd',
      gross: '29.00',
      fee: '1.14',
      net: '27.86',
      automatic_payout_effective_at: '2024-04-02 00:00:00',
      'payment_metadata[tollgate_reference]': 'pay_1-1',
    },
    { kind: 'charge', reference: 'pay_1-1', grossMinor: 2900, feeMinor: 114, netMinor: 2786, currency: 'USD', settledAt: new Date('2024-04-02T00:00:00Z') },
  ],
  [
    'stripe',
    {
      reporting_category: 'refund',
      currency: 'usd',
      gross: '-9.00',
      fee: '0',
      net: '-9.00',
      'payment_metadata[tollgate_reference]': 'pay_1-1',
      'refund_metadata[tollgate_reference]': 'pay_1-1.ref_1',
    },
    { kind: 'refund', reference: 'pay_1-1.ref_1', grossMinor: -900, feeMinor: 0, netMinor: -900, currency: 'USD', settledAt: undefined },
  ],
  ['stripe', { reporting_category: 'payout', currency: 'usd', gross: '-27.86', fee: '0', net: '-27.86' }, undefined],
  [
    'adyen',
    {
      'Psp Reference': '8836',
      'Merchant Reference': 'pay_1-1',
      Type: 'Settled',
      'Gross Currency': 'EUR',
      'Gross Debit (GC)': '',
      'Gross Credit (GC)': '25.00',
      'Net Currency': 'EUR',
      'Net Debit (NC)': '',
      'Net Credit (NC)': '24.40',
      'Commission (NC)': '0.20',
      'Markup (NC)': '0.10',
      'Scheme Fees (NC)': '0.10',
      'Interchange (NC)': '0.20',
      'Creation Date': '2024-04-02 10:11:12',
    },
    { kind: 'charge', reference: 'pay_1-1', grossMinor: 2500, feeMinor: 60, netMinor: 2440, currency: 'EUR', settledAt: new Date('2024-04-02T10:11:12Z') },
  ],
  [
    'adyen',
    {
      'Merchant Reference': 'pay_1-1',
      Type: 'Chargeback',
      'Gross Currency': 'USD',
      'Gross Debit (GC)': '27.00',
      'Net Currency': 'EUR',
      'Net Debit (NC)': '25.00',
    },
    { kind: 'dispute', reference: 'pay_1-1', grossMinor: -2500, feeMinor: 0, netMinor: -2500, currency: 'EUR', settledAt: undefined },
  ],
  ['adyen', { Type: 'MerchantPayout', 'Net Currency': 'EUR', 'Net Debit (NC)': '24.40' }, undefined],
  [
    'paypal',
    { Date: '2024-04-02', Type: 'Subscription Payment', Currency: 'USD', Gross: '1,029.00', Fee: '-1.51', Net: '1,027.49', 'Custom Number': 'pay_1-1' },
    {
      kind: 'charge',
      reference: 'pay_1-1',
      grossMinor: 102_900,
      feeMinor: 151,
      netMinor: 102_749,
      currency: 'USD',
      settledAt: new Date('2024-04-02T00:00:00Z'),
    },
  ],
  [
    'mercadopago',
    {
      EXTERNAL_REFERENCE: 'pay_1-1',
      TRANSACTION_TYPE: 'SETTLEMENT',
      TRANSACTION_AMOUNT: '100.00',
      FEE_AMOUNT: '-4.99',
      SETTLEMENT_NET_AMOUNT: '95.01',
      SETTLEMENT_CURRENCY: 'BRL',
    },
    { kind: 'charge', reference: 'pay_1-1', grossMinor: 10_000, feeMinor: 499, netMinor: 9501, currency: 'BRL', settledAt: undefined },
  ],
]

for (const [format, row, expected] of rows) {
  test(`${format}: ${Object.values(row).slice(0, 4).join(' ')}`, (t) => {
    t.deepEqual(readRow(format, row), expected === undefined ? undefined : ({ line: expected } as never))
  })
}

test('a row that cannot be read says which column and why', (t) => {
  const row = { type: 'charge', reference: 'pay_1-1', currency: 'USD', gross: '29.00', fee: '1', net: '28.00' }
  const cases: [change: ReportRow, why: string][] = [
    [{ type: 'tax' }, 'type must be charge, refund, dispute, fee or other'],
    [{ currency: '' }, 'currency is empty or missing'],
    [{ currency: 'DOLLAR' }, 'currency is not an ISO 4217 currency code'],
    [{ gross: '29.005' }, 'gross is not an amount of USD'],
    [{ settled_at: 'soon' }, 'settled_at is not a date'],
  ]
  for (const [change, why] of cases) t.deepEqual(readRow('tollgate', { ...row, ...change }), { malformed: why })
})

test('a decimal comma is not taken for one of thousands', (t) => {
  const row = (gross: string) => readRow('tollgate', { type: 'charge', reference: 'pay-1-1', currency: 'EUR', gross, fee: '0', net: '1' })
  for (const [written, minor] of [
    ['29.00', 2900],
    ['1,234.50', 123_450],
    ['-1,234,567', -123_456_700],
  ] as const) {
    t.like(row(written), { line: { grossMinor: minor } })
  }
  for (const written of ['29,00', '29,0', '1,23', '1.234,50', ',5', '12,3456']) t.like(row(written), { malformed: 'gross is not an amount of EUR' }, written)
})
