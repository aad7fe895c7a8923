/** Amounts as a provider wants them: ISO 4217 minor units, except for currencies of which it counts other decimals. */
import { minorUnitDigits } from '../../../common/money.ts'

/** A provider's differences from ISO 4217, by currency: how many decimals it counts, and what its units have to be a multiple of. */
export type CurrencyRules = Readonly<Record<string, { digits?: number; multipleOf?: number }>>

const digitsOf = (currency: string, counting: CurrencyRules): number => counting[currency]?.digits ?? minorUnitDigits(currency)

const greatestCommonDivisor = (a: number, b: number): number => (b === 0 ? a : greatestCommonDivisor(b, a % b))

/** The smallest step, in ISO 4217 minor units, that the provider can express: it can express its multiples, and no other amount. */
export const smallestStepOf = (currency: string, counting: CurrencyRules): number => {
  const shift = digitsOf(currency, counting) - minorUnitDigits(currency)
  const multipleOf = counting[currency]?.multipleOf ?? 1
  // With fewer decimals than ISO one unit is many minor units; with more, one minor unit is many units.
  return shift <= 0 ? multipleOf * 10 ** -shift : multipleOf / greatestCommonDivisor(multipleOf, 10 ** shift)
}

/** @returns undefined when the provider cannot express the amount: it has decimals that the provider does not take. */
export const toPspUnits = (amountMinor: number, currency: string, counting: CurrencyRules): number | undefined => {
  if (amountMinor % smallestStepOf(currency, counting) !== 0) return undefined
  const shift = digitsOf(currency, counting) - minorUnitDigits(currency)
  const units = shift >= 0 ? amountMinor * 10 ** shift : amountMinor / 10 ** -shift
  return Number.isSafeInteger(units) ? units : undefined
}

/** @throws Error when it is no whole number of minor units. */
export const fromPspUnits = (units: number, currency: string, counting: CurrencyRules): number => {
  const shift = minorUnitDigits(currency) - digitsOf(currency, counting)
  const amountMinor = shift >= 0 ? units * 10 ** shift : units / 10 ** -shift
  if (!Number.isSafeInteger(amountMinor)) throw new Error(`${units} is not an amount of ${currency}`)
  return amountMinor
}

/** `29.00`: for providers that take decimals. Undefined as for `toPspUnits`. */
export const toDecimal = (amountMinor: number, currency: string, counting: CurrencyRules): string | undefined => {
  const digits = digitsOf(currency, counting)
  const units = toPspUnits(amountMinor, currency, counting)
  if (units === undefined) return undefined
  const text = String(Math.abs(units)).padStart(digits + 1, '0')
  const sign = units < 0 ? '-' : ''
  return digits === 0 ? `${sign}${text}` : `${sign}${text.slice(0, -digits)}.${text.slice(-digits)}`
}

const DECIMAL = /^(-?)(\d+)(?:\.(\d*))?$/

/** ISO minor units of `29.00`, `29` or `29.000`. @returns undefined when it is no such amount of the currency. */
export const fromDecimal = (text: string, currency: string): number | undefined => {
  const [, sign = '', whole = '', fraction = ''] = DECIMAL.exec(text.trim()) ?? []
  const digits = minorUnitDigits(currency)
  if (whole === '' || /[1-9]/.test(fraction.slice(digits))) return undefined
  const units = Number(`${whole}${fraction.slice(0, digits).padEnd(digits, '0')}`)
  if (!Number.isSafeInteger(units)) return undefined
  return sign === '' || units === 0 ? units : -units
}

/** The provider cannot be asked for this amount at all. */
export const inexpressible = { status: 'declined', declineClass: 'config', pspCode: 'amount_not_expressible' } as const
