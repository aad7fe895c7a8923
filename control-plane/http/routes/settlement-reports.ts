import { AppError } from '../../../common/errors.ts'
import { MAX_AMOUNT_MINOR } from '../../../common/money.ts'
import { formatOf, reportFormats } from '../../payments/settlement/formats.ts'
import { importCsv, importLinesOf } from '../../payments/settlement/import-report.ts'
import { settlementKinds } from '../../schemas/payment.ts'
import { differenceKinds, reportStatuses, type SettlementDifference, type SettlementReport } from '../../schemas/settlement-report.ts'
import { currency, id, instant, iso, isoOrNull, pageAnswer, pageOf, pageQuery, z } from '../fields.ts'
import { mustMatch } from '../precondition.ts'
import { ofList, route } from '../route.ts'

/** What fits into a request; longer reports come as CSV. */
const MAX_LINES = 1_000

const signedMinor = z.int('must be a whole number of minor units, such as 2900 for $29.00').min(-MAX_AMOUNT_MINOR).max(MAX_AMOUNT_MINOR)

const line = z
  .strictObject({
    type: z.enum(settlementKinds),
    reference: z
      .string()
      .min(1)
      .max(255)
      .optional()
      .openapi({ description: 'Our reference: the id of the attempt or of the refund, as the provider received it. Charges, refunds and disputes need it.' }),
    currency,
    gross: signedMinor.openapi({ description: 'In minor units, signed: the amount that it adds to the payout before fees.' }),
    fee: signedMinor.default(0).openapi({ description: 'The amount that the provider keeps.' }),
    net: signedMinor.openapi({ description: 'gross minus fee.' }),
    settledAt: instant.optional(),
  })
  .openapi('SettlementLine')

const range = {
  from: instant.optional().openapi({ description: 'With `to`: payments made in this time at this account that no report has settled are listed as missing.' }),
  to: instant.optional(),
}

export const reportAnswer = z
  .object({
    id: z.string(),
    account: z.string(),
    status: z.enum(reportStatuses),
    why: z.string().nullable(),
    lines: z.int(),
    matched: z.int(),
    differences: z.int(),
    totals: z.array(z.object({ currency: z.string(), gross: z.int(), fee: z.int(), net: z.int() })),
    createdAt: instant,
    finishedAt: instant.nullable(),
  })
  .openapi('SettlementReport')

export const toReportAnswer = (report: SettlementReport): z.output<typeof reportAnswer> => ({
  id: report.id,
  account: report.account,
  status: report.status,
  why: report.why ?? null,
  lines: report.lines,
  matched: report.matched,
  differences: report.differences,
  totals: report.totals.map((total) => ({ currency: total.currency, gross: total.grossMinor, fee: total.feeMinor, net: total.netMinor })),
  createdAt: iso(report.createdAt),
  finishedAt: isoOrNull(report.finishedAt),
})

const differenceAnswer = z
  .object({
    line: z.int().nullable(),
    kind: z.enum(differenceKinds),
    why: z.string(),
    type: z.enum(settlementKinds).nullable(),
    reference: z.string().nullable(),
    paymentId: z.string().nullable(),
  })
  .openapi('SettlementDifference')

const toDifferenceAnswer = (difference: SettlementDifference): z.output<typeof differenceAnswer> => ({
  line: difference.line ?? null,
  kind: difference.kind,
  why: difference.why,
  type: difference.type ?? null,
  reference: difference.reference ?? null,
  paymentId: difference.paymentId ?? null,
})

const rangeOf = ({ from, to }: { from?: string | undefined; to?: string | undefined }) => ({
  from: from === undefined ? undefined : new Date(from),
  to: to === undefined ? undefined : new Date(to),
})
/** Whoever names a revision, or any, means a report that is there. */
const checkOf = (ifMatch: number | undefined, headers: Record<string, string | undefined>) => ({
  mustExist: headers['if-match'] !== undefined,
  check: mustMatch(ifMatch),
})

const answer = (report: SettlementReport) => ({ body: toReportAnswer(report), revision: report.revision })
const params = z.object({ report: id })

export const settlementReportRoutes = [
  route({
    method: 'post',
    path: '/v1/settlement-reports',
    summary: 'Import a settlement report',
    description:
      'Tollgate matches the lines to payments and lists the differences. If an import was cut off, repeat it under the same id: nothing counts twice. A finished import is not repeated.',
    access: 'settlements:write',
    storefront: 'all',
    ifMatch: { document: 'the report, if its import is repeated' },
    body: z
      .strictObject({ id: id.openapi({ description: 'For example the id of the payout.' }), account: id, ...range, lines: z.array(line).max(MAX_LINES) })
      .openapi('NewSettlementReport'),
    refusals: ['already_exists', 'unknown_reference'],
    status: 201,
    answer: reportAnswer,
    handle: async ({ of, body, ifMatch, headers }) => {
      const lines = body.lines.map(({ type, reference, gross, fee, net, settledAt, currency: paidIn }) => ({
        kind: type,
        reference,
        grossMinor: gross,
        feeMinor: fee,
        netMinor: net,
        currency: paidIn,
        settledAt: settledAt === undefined ? undefined : new Date(settledAt),
      }))
      return answer(await importLinesOf(of, { id: body.id, account: body.account, ...rangeOf(body) }, checkOf(ifMatch, headers), lines))
    },
  }),
  route({
    method: 'post',
    path: '/v1/settlement-reports/{report}/csv',
    summary: 'Import a settlement report as CSV',
    description:
      'Send the file with Content-Type: text/csv; it may have any length. A file without the columns of its format, or without lines, is refused as a whole. If an import was cut off, repeat it under the same id: nothing counts twice.',
    access: 'settlements:write',
    storefront: 'all',
    ifMatch: { document: 'the report, if its import is repeated' },
    params,
    query: z.strictObject({
      account: id,
      format: z.enum(reportFormats).optional().openapi({ description: "Default: the format of the account's provider." }),
      ...range,
    }),
    takes: 'text/csv',
    refusals: ['already_exists', 'unknown_reference'],
    status: 201,
    answer: reportAnswer,
    handle: async ({ of, params, query, ifMatch, headers, stream }) => {
      if (!stream) throw new AppError('unsupported_media_type', 'send the report with Content-Type: text/csv')
      const account = await of.storage.pspAccounts.find(of.keys.pspAccount(query.account))
      const format = query.format ?? formatOf(account?.provider ?? 'simulator')
      return answer(await importCsv(of, { id: params.report, account: query.account, ...rangeOf(query) }, checkOf(ifMatch, headers), format, stream))
    },
  }),
  route({
    method: 'get',
    path: '/v1/settlement-reports',
    summary: 'List settlement reports',
    access: 'settlements:read',
    storefront: 'all',
    ifMatch: ofList,
    query: z.strictObject({ account: id.optional(), ...pageQuery }),
    status: 200,
    answer: pageOf(reportAnswer),
    handle: async ({ of, query: { account, ...pages } }) => {
      const where = { tenantId: of.tenantId, ...(account === undefined ? {} : { account }) }
      return pageAnswer(await of.storage.settlementReports.page({ where, ...pages }), toReportAnswer)
    },
  }),
  route({
    method: 'get',
    path: '/v1/settlement-reports/{report}',
    summary: 'Read a settlement report',
    description: 'The answer is the summary: its totals, and how many lines match.',
    access: 'settlements:read',
    storefront: 'all',
    ifMatch: 'answer',
    params,
    status: 200,
    answer: reportAnswer,
    handle: async ({ of, params }) => answer(await of.storage.settlementReports.get(of.keys.settlementReport(params.report))),
  }),
  route({
    method: 'get',
    path: '/v1/settlement-reports/{report}/differences',
    summary: 'List the differences of a settlement report',
    description: "The list holds the lines that do not agree with Tollgate's payments, and the payments that the report lacks.",
    access: 'settlements:read',
    storefront: 'all',
    ifMatch: ofList,
    params,
    query: z.strictObject(pageQuery),
    status: 200,
    answer: pageOf(differenceAnswer),
    handle: async ({ of, params, query }) => {
      const { tenantId } = of
      await of.storage.settlementReports.get(of.keys.settlementReport(params.report))
      return pageAnswer(await of.storage.settlementDifferences.page({ where: { tenantId, reportId: params.report }, ...query }), toDifferenceAnswer)
    },
  }),
]
