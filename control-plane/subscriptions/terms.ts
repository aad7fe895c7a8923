import { fieldError } from '../../common/errors.ts'
import { MAX_AMOUNT_MINOR } from '../../common/money.ts'
import { priceOf } from '../billing/periods.ts'
import type { Bundle, Terms } from '../schemas/bundle.ts'

/** The terms that a customer agrees to by buying a bundle as it stands. */
export const termsOf = (bundle: Bundle, quantity: number): Terms => ({
  bundleId: bundle.id,
  bundleVersion: bundle.version,
  quantity,
  pricing: bundle.pricing,
  entitlements: bundle.entitlements,
  refundEndsAccess: bundle.refundEndsAccess,
})

/** @throws AppError `invalid_request` on `quantity` when a period would cost more than can be counted. */
export const checkPrice = (terms: Terms): Terms => {
  if (priceOf(terms) > MAX_AMOUNT_MINOR)
    throw fieldError('invalid_request', 'quantity', `is too large: a period would cost more than ${MAX_AMOUNT_MINOR} minor units`)
  return terms
}
