/**
 * Advice of card networks beside a provider's own code, which wins over it: above all "do not try again". Networks fine
 * whoever tries all the same.
 */
import { table } from '../../../common/table.ts'
import type { DeclineClass } from '../../schemas/payment.ts'

/**
 * Mastercard's merchant advice codes: https://docs.adyen.com/development-resources/raw-acquirer-responses, "Mastercard
 * Merchant Advice Codes"; those above 21 as https://docs.everonet.com/, "Mastercard merchant advice code", has them.
 */
const ADVICE = table<DeclineClass>({
  // New account information is available, or has to be asked for.
  '01': 'credential',
  // Cannot be approved now: later, and nobody else meanwhile.
  '02': 'funds',
  '03': 'hard',
  // The token's requirements are not met.
  '04': 'credential',
  // The customer has stopped what recurs.
  '21': 'hard',
  // The merchant does not qualify for this kind of transaction.
  '22': 'config',
  // Try again after an hour, a day, two, four, six, eight or ten days.
  ...Object.fromEntries(['24', '25', '26', '27', '28', '29', '30'].map((code) => [code, 'funds' as const])),
  // Prepaid without reloading, and for a single use: no cards for what recurs.
  '40': 'credential',
  '41': 'credential',
  // Sanctions.
  '42': 'hard',
})

/**
 * Response codes of Visa's category 1, "issuer will never approve": 04 and 07 pick up the card, 12 invalid transaction,
 * 14 invalid account number, 15 no such issuer, 41 lost, 43 stolen, 46 closed account, 57 not permitted to the cardholder,
 * R0, R1 and R3 stop payment and revocation: https://developers.tabapay.com/docs/excessive-retry-rules,
 * https://www.checkout.com/docs/developer-resources/codes/visa-response-codes. 13, invalid amount, is none of them, and
 * no reason to ask for the same amount again.
 */
const RESPONSES = new Set(['04', '07', '12', '13', '14', '15', '41', '43', '46', '57', 'R0', 'R1', 'R3'])

export interface NetworkWords {
  /** A merchant advice code, or a text that begins with it: `03 : Do not try again`. */
  advice?: string | undefined
  /** The response code of the network, or a text that begins with it: `R1 : Revocation of authorization`. */
  response?: string | undefined
  /** The provider has understood them itself. */
  doNotTryAgain?: boolean
  /** The provider says that what it has of the card is to be looked at. */
  confirmCard?: boolean
}

const leadingCode = (text: string | undefined): string => /^\s*([A-Z0-9]{2})(?![A-Za-z0-9])/.exec(text ?? '')?.[1] ?? ''

const classOfWords = ({ advice, response, doNotTryAgain, confirmCard }: NetworkWords): DeclineClass | undefined => {
  const advised = ADVICE[leadingCode(advice)]
  if (doNotTryAgain || advised === 'hard' || RESPONSES.has(leadingCode(response))) return 'hard'
  if (advised) return advised
  if (/do not (try again|retry)/i.test(`${advice} ${response}`)) return 'hard'
  return confirmCard ? 'credential' : undefined
}

/** The classes after which the same method is tried again, by itself or elsewhere: the others stop already, and say better why. */
const TRIED_AGAIN: readonly DeclineClass[] = ['technical', 'issuer_soft', 'funds', 'config']

export const withNetworkWords = (declineClass: DeclineClass, words: NetworkWords): DeclineClass =>
  (TRIED_AGAIN.includes(declineClass) ? classOfWords(words) : undefined) ?? declineClass
