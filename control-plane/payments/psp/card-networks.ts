/** The providers' names of the card networks whose limits are known; `schemas/payment.ts` has ours. */
import type { CardNetwork } from '../../schemas/payment.ts'

/** Stripe: `visa`, `mastercard`. Adyen: `visa`, `mc`, with variants such as `visa_applepay`. PayPal: `VISA`. MercadoPago: `visa`, `debmaster`. */
export const cardNetworkOf = (name: string | null | undefined): CardNetwork | undefined => {
  const word = name?.toLowerCase() ?? ''
  if (/^(deb)?visa/.test(word)) return 'visa'
  if (/^(mc$|mc[_a-z]*$|(deb)?master)/.test(word)) return 'mastercard'
  return undefined
}

/** The network as a part of an outcome: absent if the provider does not name it, or its limits are not known. */
export const networkNamed = (name: string | null | undefined): { network?: CardNetwork } => {
  const network = cardNetworkOf(name)
  return network ? { network } : {}
}
