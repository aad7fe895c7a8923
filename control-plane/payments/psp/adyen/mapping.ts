/**
 * Adyen's words as the port's. Mapping only.
 *
 * Sources: https://docs.adyen.com/development-resources/refusal-reasons,
 * https://docs.adyen.com/online-payments/payment-result-codes, https://docs.adyen.com/development-resources/currency-codes,
 * https://docs.adyen.com/development-resources/webhooks/webhook-types,
 * https://docs.adyen.com/risk-management/disputes-api/dispute-notifications.
 */
import { table } from '../../../../common/table.ts'
import type { DeclineClass } from '../../../schemas/payment.ts'
import { networkNamed } from '../card-networks.ts'
import { countedBy } from '../counted-currencies.ts'
import { fromPspUnits } from '../currency-exponents.ts'
import { withNetworkWords } from '../declined-for-good.ts'
import type { ChargeOutcome, DisputeFacts, PspEvent, RefundOutcome } from '../psp.ts'

/**
 * `refusalReasonCode`, the `refusalReason` that goes with it (all that a webhook has), and what it means:
 * https://docs.adyen.com/development-resources/refusal-reasons, "Refusal responses".
 */
const refusals: [code: string, reason: string, declineClass: DeclineClass][] = [
  ['2', 'Refused', 'issuer_soft'],
  ['3', 'Referral', 'issuer_soft'],
  ['4', 'Acquirer Error', 'technical'],
  ['5', 'Blocked Card', 'hard'],
  ['6', 'Expired Card', 'credential'],
  // The amount is what is owed: with this card it is refused elsewhere and later too.
  ['7', 'Invalid Amount', 'hard'],
  ['8', 'Invalid Card Number', 'credential'],
  ['9', 'Issuer Unavailable', 'issuer_soft'],
  ['10', 'Not supported', 'credential'],
  ['11', '3D Not Authenticated', 'action_required'],
  ['12', 'Not enough balance', 'funds'],
  ['14', 'Acquirer Fraud', 'hard'],
  ['15', 'Cancelled', 'action_required'],
  ['16', 'Shopper Cancelled', 'action_required'],
  ['17', 'Invalid Pin', 'credential'],
  ['18', 'Pin tries exceeded', 'credential'],
  ['19', 'Pin validation not possible', 'credential'],
  ['20', 'FRAUD', 'hard'],
  ['21', 'Not Submitted', 'technical'],
  ['22', 'FRAUD-CANCELLED', 'hard'],
  // 57, and 12 (invalid transaction): in Visa's category 1.
  ['23', 'Transaction Not Permitted', 'hard'],
  ['24', 'CVC Declined', 'credential'],
  ['25', 'Restricted Card', 'hard'],
  ['26', 'Revocation Of Auth', 'hard'],
  ['27', 'Declined Non Generic', 'issuer_soft'],
  ['28', 'Withdrawal amount exceeded', 'funds'],
  ['29', 'Withdrawal count exceeded', 'funds'],
  ['31', 'Issuer Suspected Fraud', 'hard'],
  ['32', 'AVS Declined', 'credential'],
  ['33', 'Card requires online pin', 'credential'],
  ['34', 'No checking account available on Card', 'credential'],
  ['35', 'No savings account available on Card', 'credential'],
  ['36', 'Mobile pin required', 'action_required'],
  ['37', 'Contactless fallback', 'credential'],
  ['38', 'Authentication required', 'action_required'],
  ['39', 'RReq not received from DS', 'action_required'],
  ['40', 'Current AID is in Penalty Box', 'issuer_soft'],
  ['41', 'CVM Required Restart Payment', 'action_required'],
  ['42', '3DS Authentication Error', 'action_required'],
  ['43', 'Online PIN required', 'credential'],
  ['44', 'Try another interface', 'credential'],
  ['45', 'Chip downgrade mode', 'credential'],
  ['46', 'Transaction blocked by Adyen to prevent excessive retry fees', 'hard'],
  ['50', 'Token revoked', 'credential'],
]

export const adyenRefusals: Readonly<Record<string, DeclineClass>> = Object.fromEntries(refusals.map(([code, , declineClass]) => [code, declineClass]))
const byReason = new Map(refusals.map(([code, reason]) => [reason.toLowerCase(), code]))

/**
 * `errorCode` of an error answer: https://docs.adyen.com/development-resources/error-codes. What is about the stored
 * payment method; the others are about the account or the request, which is the merchant's to mend.
 */
export const adyenErrorCodes = table<DeclineClass>({
  '101': 'credential',
  '102': 'credential',
  '103': 'credential',
  '108': 'credential',
  '125': 'credential',
  '126': 'credential',
  '128': 'credential',
  '129': 'credential',
  // Invalid amount specified: what is owed is the same later.
  '137': 'hard',
  '138': 'config',
  '140': 'credential',
  '141': 'credential',
  '153': 'credential',
  '155': 'credential',
  '800': 'credential',
  '802': 'credential',
  '803': 'credential',
  '805': 'credential',
  '806': 'credential',
  '901': 'config',
  '905': 'config',
  '905_1': 'config',
  '905_2': 'config',
  '905_3': 'config',
  '907': 'config',
  // The transaction amount exceeds what is allowed for this type of card.
  '916': 'hard',
  '950': 'config',
})

/** "Request already processed or in progress": there is an earlier one under the same key, and it counts. */
export const IN_PROGRESS = '704'

/** After the charge's reference, in the request that gives up a charge which waits for its customer. */
export const CANCEL_SUFFIX = '.cancel'

export interface AdyenPayment {
  resultCode?: string
  pspReference?: string
  refusalReason?: string
  refusalReasonCode?: string
  action?: { url?: string; type?: string } | null
  paymentMethod?: { brand?: string; type?: string } | null
  additionalData?: AdyenRaw | null
}

/** The network's own answer, if the account has it turned on. */
interface AdyenRaw {
  refusalReasonRaw?: string | undefined
  merchantAdviceCode?: string | undefined
}

const declined = (code: string, pspReference: string | undefined, raw?: AdyenRaw | null, brand?: string): ChargeOutcome => ({
  status: 'declined',
  declineClass: withNetworkWords(adyenRefusals[code] ?? 'issuer_soft', { advice: raw?.merchantAdviceCode, response: raw?.refusalReasonRaw }),
  pspCode: code,
  ...(pspReference ? { pspReference } : {}),
  // Merchant advice is Mastercard's, whoever the card says it is of.
  ...networkNamed(raw?.merchantAdviceCode ? 'mc' : brand),
})

/** @param separate the account captures by a second call: authorised is not paid. */
export const toOutcome = (payment: AdyenPayment, separate: boolean): ChargeOutcome => {
  const { pspReference = '' } = payment
  const code = payment.refusalReasonCode ?? byReason.get(payment.refusalReason?.toLowerCase() ?? '') ?? 'unexplained'
  switch (payment.resultCode) {
    case 'Authorised':
      return { status: separate ? 'authorized' : 'succeeded', pspReference }
    case 'Refused':
      return declined(code, payment.pspReference, payment.additionalData, payment.paymentMethod?.brand)
    case 'Error':
      return declined(payment.refusalReasonCode ? code : '4', payment.pspReference)
    case 'Cancelled':
      return declined(payment.refusalReasonCode ? code : '15', payment.pspReference)
    case 'RedirectShopper':
    case 'IdentifyShopper':
    case 'ChallengeShopper':
      return payment.action?.url ? { status: 'requires_action', pspReference, actionUrl: payment.action.url } : { status: 'pending', pspReference }
    case undefined:
      return { status: 'unknown', pspCode: 'malformed_answer' }
    default:
      // A result that we do not know is not a decline: somebody may have been charged.
      return { status: 'pending', pspReference }
  }
}

export interface AdyenNotification {
  eventCode: string
  success: string
  pspReference: string
  originalReference?: string
  merchantReference?: string
  merchantAccountCode: string
  /** The brand of a card: `visa`, `mc`. */
  paymentMethod?: string
  reason?: string
  eventDate?: string
  amount: { value: number; currency: string }
  additionalData?: Record<string, string | undefined>
}

const disputeStatuses = table<(status: string) => DisputeFacts['status']>({
  NOTIFICATION_OF_CHARGEBACK: () => 'open',
  // The money is gone; while it can be defended it is not lost for good.
  CHARGEBACK: (status) => (['lost', 'accepted', 'expired'].includes(status) ? 'lost' : 'open'),
  CHARGEBACK_REVERSED: () => 'won',
  SECOND_CHARGEBACK: () => 'lost',
  PREARBITRATION_WON: () => 'won',
  PREARBITRATION_LOST: () => 'lost',
})

const moneyEvents = ['AUTHORISATION', 'CAPTURE', 'CAPTURE_FAILED', 'CANCELLATION', 'TECHNICAL_CANCEL', 'REFUND', 'REFUND_FAILED', 'REFUNDED_REVERSED'] as const
type MoneyEvent = (typeof moneyEvents)[number]

const isMoneyEvent = (code: string): code is MoneyEvent => (moneyEvents as readonly string[]).includes(code)

/** The event codes that are read, and that a webhook is set up for. */
export const adyenEvents: string[] = [...moneyEvents, ...Object.keys(disputeStatuses)]

/** The amount in ISO's minor units; for a currency that ISO does not have, in the provider's own. */
const amountOf = ({ value, currency }: AdyenNotification['amount']): number => fromPspUnits(value, currency, countedBy.adyen)

/** Some come with their code before them: `12 : Not enough balance`. */
const reasonCode = (reason: string | undefined): string => byReason.get((reason ?? '').replace(/^\d+\s*:\s*/, '').toLowerCase()) ?? reason ?? 'unexplained'

/** A field that is not signed may hold anything. */
const dateField = <K extends string>(name: K, text: string | undefined): { [key in K]?: Date } => {
  const date = new Date(text ?? Number.NaN)
  return (Number.isNaN(date.getTime()) ? {} : { [name]: date }) as { [key in K]?: Date }
}

/** The facts, by the reference that we gave: of the charge for a capture or a cancellation, of the refund for a refund. */
const factsOf = (item: AdyenNotification, separate: boolean): Pick<PspEvent, 'charge' | 'refund' | 'dispute'> => {
  const isGivenUp = item.merchantReference?.endsWith(CANCEL_SUFFIX) === true
  const reference = isGivenUp ? (item.merchantReference ?? '').slice(0, -CANCEL_SUFFIX.length) : (item.merchantReference ?? '')
  const succeeded = item.success === 'true'
  const pspReference = item.originalReference || item.pspReference
  const charge = (outcome: ChargeOutcome) => ({ charge: { reference, pspReference, outcome } })
  // Of a refund the merchant reference is that of its request or of the payment: its own reference tells.
  const refund = (outcome: RefundOutcome) => ({ refund: { reference, pspReference: item.pspReference, outcome } })
  const dispute = (status: DisputeFacts['status'], reason: string): DisputeFacts => ({
    id: item.pspReference,
    status,
    amountMinor: amountOf(item.amount),
    currency: item.amount.currency,
    reason,
    ...dateField('at', item.eventDate),
  })
  const disputeStatus = disputeStatuses[item.eventCode]
  if (disputeStatus) {
    const respondBy = item.additionalData?.defensePeriodEndsAt
    const facts = dispute(disputeStatus(item.additionalData?.disputeStatus?.toLowerCase() ?? ''), item.reason ?? item.eventCode)
    return { charge: { reference, pspReference }, dispute: { ...facts, ...dateField('respondBy', respondBy) } }
  }
  const { eventCode } = item
  if (!isMoneyEvent(eventCode)) return {}
  switch (eventCode) {
    case 'AUTHORISATION':
      return charge(
        succeeded
          ? { status: separate ? 'authorized' : 'succeeded', pspReference }
          : declined(reasonCode(item.reason), pspReference, item.additionalData, item.paymentMethod),
      )
    case 'CAPTURE':
      return charge(succeeded ? { status: 'succeeded', pspReference } : declined('4', pspReference))
    // Days after the capture was told as made: what it paid for may have been given. Before that it is a decline.
    case 'CAPTURE_FAILED':
      return { ...charge(declined('4', pspReference)), dispute: dispute('lost', `CAPTURE_FAILED: ${item.reason || 'the money was not taken'}`) }
    case 'CANCELLATION':
    case 'TECHNICAL_CANCEL':
      if (!succeeded) return {}
      return charge({ status: 'declined', declineClass: isGivenUp ? 'action_required' : 'technical', pspCode: 'released', pspReference })
    case 'REFUND':
      return refund(succeeded ? { status: 'succeeded' } : { status: 'failed', pspCode: item.reason || 'refused' })
    case 'REFUND_FAILED':
    case 'REFUNDED_REVERSED':
      return refund({ status: 'failed', pspCode: item.reason || eventCode.toLowerCase() })
    default:
      return eventCode satisfies never
  }
}

/** Adyen's events have no id: what makes one unique is what happened to what, and how it went. */
export const toEvent = (item: AdyenNotification, separate: boolean): PspEvent => ({
  id: `${item.eventCode}:${item.pspReference}:${item.success}`,
  type: item.eventCode,
  ...factsOf(item, separate),
})
