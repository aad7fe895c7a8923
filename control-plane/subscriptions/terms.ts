import type { Bundle, Terms } from '../schemas/bundle.ts'

/** What is agreed by buying a bundle as it stands. */
export const termsOf = (bundle: Bundle, quantity: number): Terms => ({
  bundleId: bundle.id,
  bundleVersion: bundle.version,
  quantity,
  pricing: bundle.pricing,
  entitlements: bundle.entitlements,
  refundEndsAccess: bundle.refundEndsAccess,
})
