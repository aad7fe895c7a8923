/**
 * What card networks say beside a provider's own code, and which wins over it: "do not try again". Networks fine whoever
 * tries all the same.
 */
import type { DeclineClass } from '../../schemas/payment.ts'

/**
 * Mastercard's merchant advice codes, as https://docs.adyen.com/development-resources/raw-acquirer-responses,
 * "Mastercard Merchant Advice Codes", has them: 03 do not try again, 21 payment cancellation (the customer has stopped
 * what recurs).
 */
const ADVICE = new Set(['03', '21'])

/**
 * Response codes of Visa's category 1, "issuer will never approve": 04 and 07 pick up the card, 12 invalid transaction,
 * 15 no such issuer, 41 lost, 43 stolen, 46 closed account, 57 not permitted to the cardholder, R0, R1 and R3 stop
 * payment and revocation. 14, invalid account number, is left to the provider's own code: a corrected one may pass.
 */
const RESPONSES = new Set(['04', '07', '12', '15', '41', '43', '46', '57', 'R0', 'R1', 'R3'])

export interface NetworkWords {
  /** A merchant advice code, or a text that begins with it: `03 : Do not try again`. */
  advice?: string | undefined
  /** The response code of the network, or a text that begins with it: `R1 : Revocation of authorization`. */
  response?: string | undefined
  /** The provider has understood them itself. */
  doNotTryAgain?: boolean
}

const leadingCode = (text: string | undefined): string => /^\s*([A-Z0-9]{2})(?![A-Za-z0-9])/.exec(text ?? '')?.[1] ?? ''

const isForGood = ({ advice, response, doNotTryAgain }: NetworkWords): boolean =>
  doNotTryAgain === true || ADVICE.has(leadingCode(advice)) || RESPONSES.has(leadingCode(response)) || /do not (try again|retry)/i.test(`${advice} ${response}`)

/** The classes after which the same method is tried again, by itself or elsewhere: the others stop already, and say better why. */
const TRIED_AGAIN: readonly DeclineClass[] = ['technical', 'issuer_soft', 'funds', 'config']

export const withNetworkWords = (declineClass: DeclineClass, words: NetworkWords): DeclineClass =>
  TRIED_AGAIN.includes(declineClass) && isForGood(words) ? 'hard' : declineClass
