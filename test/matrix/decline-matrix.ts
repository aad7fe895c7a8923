/**
 * Every code of the mapping tables, the class that it has, and what Tollgate does next: found out by asking the code
 * that decides, not read from a table.
 *
 *   npm run matrix:declines
 */
import { recordOutcome, reopen, startAttempt } from '../../control-plane/payments/machine/attempts.ts'
import { consequences } from '../../control-plane/payments/machine/decline-classes.ts'
import { barrier, nextAccount } from '../../control-plane/payments/machine/next-attempt.ts'
import { adyenErrorCodes, adyenRefusals } from '../../control-plane/payments/psp/adyen/mapping.ts'
import { mercadopagoCauses, mercadopagoRejections } from '../../control-plane/payments/psp/mercadopago/mapping.ts'
import { paypalIssues, paypalProcessorCodes } from '../../control-plane/payments/psp/paypal/mapping.ts'
import { stripeDeclines, stripeErrorCodes } from '../../control-plane/payments/psp/stripe/mapping.ts'
import { type DeclineClass, declineClasses, type Payment } from '../../control-plane/schemas/payment.ts'
import { paymentOf } from '../support/payments.ts'

const tables: [provider: string, table: Readonly<Record<string, DeclineClass>>][] = [
  ['stripe decline_code', stripeDeclines],
  ['stripe code', Object.fromEntries(Object.entries(stripeErrorCodes).filter(([code]) => !(code in stripeDeclines)))],
  ['adyen refusalReasonCode', adyenRefusals],
  ['adyen errorCode', adyenErrorCodes],
  ['paypal issue', paypalIssues],
  ['paypal response_code', paypalProcessorCodes],
  ['mercadopago status_detail', mercadopagoRejections],
  ['mercadopago cause', mercadopagoCauses],
  ['local declineClass', Object.fromEntries(declineClasses.map((one) => [one, one]))],
]

export interface Row {
  from: string
  code: string
  declineClass: DeclineClass
  otherAccountNow: 'yes' | 'once' | 'no' | 'never'
  sameMethodLater: 'yes' | 'no' | 'never'
  access: 'unchanged' | 'grace'
}

const now = new Date('2024-03-15T00:00:00Z')
const accounts = ['first', 'second', 'third']
const limits = { maxAttempts: 15, maxAttemptsDays: 30 }
const route = { rule: 'split', slot: 0, candidates: accounts, excluded: [] }
const fresh = paymentOf({ seq: 1, paymentMethodId: 'card' })

const declinedAt = (payment: Payment, account: string, declineClass: DeclineClass): Payment => {
  const started = startAttempt(payment, account, 'card', route, now, now)
  const id = started.attempts.at(-1)?.id ?? ''
  return recordOutcome(started, id, { status: 'declined', declineClass, pspCode: 'x' }, now, now) ?? started
}

const rowOf = (from: string, code: string, declineClass: DeclineClass): Row => {
  const once = declinedAt(fresh, 'first', declineClass)
  const second = nextAccount(once, 'card', accounts)
  const third = second && nextAccount(declinedAt(once, second, declineClass), 'card', accounts)
  const failed = { ...once, status: 'failed' } as Payment
  const sameMethod = barrier(
    reopen(failed, { round: 2, paymentMethodId: 'card', onSession: false, returnUrl: undefined }, now) as Payment,
    { id: 'card' },
    limits,
    now,
  )
  const isForGood = sameMethod !== undefined && /for good/.test(sameMethod)
  return {
    from,
    code,
    declineClass,
    otherAccountNow: isForGood ? 'never' : third ? 'yes' : second ? 'once' : 'no',
    sameMethodLater: sameMethod === undefined ? 'yes' : isForGood ? 'never' : 'no',
    access: consequences[declineClass].accessUnchanged ? 'unchanged' : 'grace',
  }
}

export const declineMatrix = (): Row[] =>
  tables.flatMap(([from, table]) => Object.entries(table).map(([code, declineClass]) => rowOf(from, code, declineClass)))

export const printDeclines = (rows: Row[]): string => {
  const cells = rows.map((row) => [row.from, row.code, row.declineClass, row.otherAccountNow, row.sameMethodLater, row.access])
  const all = [['table', 'code', 'class', 'another account now', 'same method later', 'access'], ...cells]
  const widths = all[0]?.map((_, n) => Math.max(...all.map((row) => row[n]?.length ?? 0))) ?? []
  return all
    .map((row) =>
      row
        .map((cell, n) => cell.padEnd(widths[n] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
