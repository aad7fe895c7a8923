/**
 * Money is an integer count of minor units with an ISO 4217 code. Exponents come from the ISO table in
 * `currency-codes`, never from Intl, which says 0 decimals for HUF, IDR, COP and IQD where ISO says 2, 2, 2, 3.
 */
import currencyCodes from 'currency-codes'

/** No amount that is entered, priced or settled is larger: so that sums of a century of them, and of a whole file, stay exact. */
export const MAX_AMOUNT_MINOR = 1_000_000_000_000

/** ISO 4217 codes that are not money a customer can pay with: metals, test codes, "no currency". */
const notPayable = new Set(['XXX', 'XTS', 'XAU', 'XAG', 'XPD', 'XPT', 'XBA', 'XBB', 'XBC', 'XBD', 'XDR', 'XSU', 'XUA'])

export const isCurrency = (code: string): boolean => /^[A-Z]{3}$/.test(code) && !notPayable.has(code) && currencyCodes.code(code) !== undefined

/** @throws RangeError for a code that is not an ISO 4217 currency. */
export const minorUnitDigits = (currency: string): number => {
  const record = isCurrency(currency) ? currencyCodes.code(currency) : undefined
  if (!record) throw new RangeError(`not an ISO 4217 currency: ${currency}`)
  return record.digits
}

/** `formatMoney(2900, 'USD')` is `29.00 USD`: unambiguous in every locale, for people and logs. */
export const formatMoney = (amountMinor: number, currency: string): string => {
  const digits = minorUnitDigits(currency)
  const sign = amountMinor < 0 ? '-' : ''
  const text = String(Math.abs(amountMinor)).padStart(digits + 1, '0')
  const whole = text.slice(0, text.length - digits)
  return `${sign}${digits === 0 ? whole : `${whole}.${text.slice(-digits)}`} ${currency}`
}

/**
 * `amountMinor × part / whole`, rounded half away from zero, exactly: what a part of a period costs. Round once a line.
 * @throws RangeError unless all three are whole numbers and `whole` is above zero.
 */
export const shareOf = (amountMinor: number, part: number, whole: number): number => {
  if (whole <= 0) throw new RangeError(`cannot take a part of ${whole}`)
  const [scaled, divisor] = [BigInt(amountMinor) * BigInt(part), BigInt(whole)]
  const magnitude = scaled < 0n ? -scaled : scaled
  const rounded = Number((2n * magnitude + divisor) / (2n * divisor))
  return scaled < 0n && rounded !== 0 ? -rounded : rounded
}
