/** The stand-ins of all providers, by provider. */
import { startFakeAdyen } from './adyen.ts'
import { startFakeBank } from './bank.ts'
import { startFakeMercadopago } from './mercadopago.ts'
import { startFakePaypal } from './paypal.ts'
import { startFakeStripe } from './stripe.ts'

export const standIns = {
  stripe: startFakeStripe,
  adyen: startFakeAdyen,
  paypal: startFakePaypal,
  mercadopago: startFakeMercadopago,
  local: startFakeBank,
} as const

export type ProviderName = keyof typeof standIns
export const providerNames = Object.keys(standIns) as ProviderName[]
export type StandIn = Awaited<ReturnType<(typeof standIns)[ProviderName]>>
