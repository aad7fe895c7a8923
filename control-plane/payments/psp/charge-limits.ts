/**
 * The amounts that a provider can be asked for at all: known before anything is sent, so that a bill can be made of an amount
 * that can be charged. Pure; it says nothing of what an account or an issuer allows, nor of the largest amount.
 */
import { table } from '../../../common/table.ts'
import type { pspProviders } from '../../schemas/psp-account.ts'
import { countedBy } from './counted-currencies.ts'
import { smallestStepOf } from './currency-exponents.ts'

type ProviderName = (typeof pspProviders)[number]

/**
 * The smallest step, in ISO 4217 minor units: what the provider is asked for has to be a multiple of it.
 * @throws RangeError for a code that is not an ISO 4217 currency.
 */
export const stepMinor = (provider: ProviderName, currency: string): number => smallestStepOf(currency, countedBy[provider])

/**
 * Minimums in ISO 4217 minor units, https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts. The table is by
 * settlement currency: a charge that Stripe converts has to come to the minimum of the currency it is paid out in, at a rate
 * that is not known here. A charge in the account's own currency, which is what is common, is judged exactly.
 */
const stripeMinimums = table<number>({
  USD: 50,
  AED: 200,
  AUD: 50,
  BGN: 100,
  BRL: 50,
  CAD: 50,
  CHF: 50,
  CZK: 1500,
  DKK: 250,
  EUR: 50,
  GBP: 30,
  HKD: 400,
  HUF: 17_500,
  INR: 50,
  JPY: 50,
  MXN: 1000,
  MYR: 200,
  NOK: 300,
  NZD: 50,
  PLN: 200,
  RON: 200,
  SEK: 300,
  SGD: 50,
  THB: 1000,
})

/**
 * The minimums that the other providers publish. MercadoPago tells `min_allowed_amount` of each payment method to each account
 * alone (`GET /v1/payment_methods`); its minimums for cards, in the currencies that Stripe's table does not have, are as
 * https://docs.y.uno/docs/mercado-pago-checkout-pro, "Minimum amount", repeats them. Adyen and PayPal publish none.
 */
const minimums: Readonly<Partial<Record<ProviderName, Readonly<Record<string, number>>>>> = {
  mercadopago: { ARS: 200, CLP: 1000, COP: 100_000 },
}

/**
 * The smallest charge, in ISO 4217 minor units, and a multiple of the step. Where the provider publishes none it is
 * Stripe's, since a charge below it costs more than it brings anywhere; for a currency of no table it is the step, since
 * refusing what could be charged would be a guess.
 * @throws RangeError for a code that is not an ISO 4217 currency.
 */
export const smallestChargeMinor = (provider: ProviderName, currency: string): number => {
  const step = stepMinor(provider, currency)
  const published = minimums[provider]?.[currency] ?? stripeMinimums[currency] ?? step
  return Math.ceil(published / step) * step
}
