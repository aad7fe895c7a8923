/**
 * Bundles, in versions. A bundle's document is its newest version; before it moves on, the version it leaves is
 * stored under an id derived from it. Subscriptions carry their own copy of the terms, so nobody's change.
 */

import type { Entitlement } from '../../common/entitlements/model.ts'
import { AppError, fieldError } from '../../common/errors.ts'
import type { Bundle, BundleVersion, Pricing } from '../schemas/bundle.ts'
import type { NewDocument } from '../storage/storage.ts'
import { insertOrGet, update } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { claimKinds } from './entitlement-kinds.ts'
import { storefrontNamed } from './storefronts.ts'

export interface BundleInput {
  name: string
  pricing: Pricing
  entitlements: Entitlement[]
  trialDays: number
  refundEndsAccess: boolean
}

/** The settings of the bundle itself, in whichever version. What is left out stays as it is. */
export interface SaleTerms {
  onSale?: boolean | undefined
  onePerCustomer?: boolean | undefined
}

/** A customer who has the bundle keeps it. @throws AppError `not_allowed_in_state` for whoever is about to come to it. */
export const checkOnSale = ({ id, onSale }: Pick<Bundle, 'id' | 'onSale'>): void => {
  if (onSale === false) throw new AppError('not_allowed_in_state', `the bundle ${id} is not on sale: only existing subscribers keep it`)
}

const saleTermsOf = ({ onSale, onePerCustomer }: SaleTerms): Partial<Pick<Bundle, 'onSale' | 'onePerCustomer'>> => ({
  ...(onSale === undefined ? {} : { onSale }),
  ...(onePerCustomer === undefined ? {} : { onePerCustomer }),
})

/** The number that callers' preconditions are compared with: every change of theirs counts, and the progress of a rollout does not. */
export const editionOf = ({ edition, version }: Pick<Bundle, 'edition' | 'version'>): number => edition ?? version

const checkCurrency = async (of: TenantScope, storefrontId: string, input: BundleInput): Promise<void> => {
  const storefront = await storefrontNamed(of, storefrontId)
  if (storefront.currency !== input.pricing.currency) {
    throw fieldError('invalid_request', 'pricing.currency', `must be ${storefront.currency}, the currency of the storefront`)
  }
}

/** @throws AppError `unknown_reference`, `invalid_request` or `already_exists`. */
export const createBundle = async (of: TenantScope, storefrontId: string, id: string, input: BundleInput, sale: SaleTerms = {}): Promise<Bundle> => {
  const { tenantId } = of
  await checkCurrency(of, storefrontId, input)
  const _id = of.keys.bundle(storefrontId, id)
  // Before the kinds of its keys are stored, which would outlast the refusal.
  if (await of.storage.bundles.find(_id)) throw new AppError('already_exists', 'this bundle already exists')
  await claimKinds(of, { tenantId, storefrontId, bundleId: id }, input.entitlements, undefined)
  return of.storage.bundles.insert({
    _id,
    tenantId,
    createdAt: of.now(),
    storefrontId,
    id,
    version: 1,
    ...input,
    ...saleTermsOf(sale),
  })
}

/** Makes the next version, which new subscriptions get; `all`: and, in the background, those that exist. @throws AppError `not_found` or `invalid_request`. */
export const replaceBundle = async (
  of: TenantScope,
  storefrontId: string,
  id: string,
  check: (bundle: Bundle) => void,
  input: BundleInput,
  applyTo: 'new' | 'all',
  sale: SaleTerms = {},
): Promise<Bundle> => {
  const { tenantId } = of
  const current = await of.storage.bundles.get(of.keys.bundle(storefrontId, id))
  check(current)
  if (applyTo === 'new') checkNoRollout(current)
  await checkCurrency(of, storefrontId, input)
  await claimKinds(of, { tenantId, storefrontId, bundleId: id }, input.entitlements, current)
  await insertOrGet(of.storage.bundleVersions, versionOf(of, current))
  return update(of.storage.bundles, current._id, (bundle) => {
    check(bundle)
    // Another writer made a version meanwhile, and this one was not stored: the caller has to look first.
    if (bundle.version !== current.version) throw fieldError('revision_conflict', 'version', `is now ${bundle.version}; read the bundle again`)
    const version = bundle.version + 1
    const next = { ...bundle, ...input, ...saleTermsOf(sale), version, edition: editionOf(bundle) + 1 }
    if (applyTo === 'new') {
      checkNoRollout(bundle)
      return next
    }
    // In the same write: a crash after it leaves the rollout to the worker.
    return { ...next, rollout: { version, startedAt: of.now(), seen: 0, moved: 0 }, repairAt: of.clock.now() }
  })
}

const checkNoRollout = ({ rollout }: Bundle): void => {
  if (!rollout || rollout.finishedAt) return
  throw new AppError('not_allowed_in_state', `version ${rollout.version} is still being applied to all subscribers; wait until its rollout is finished`)
}

const versionOf = ({ keys }: TenantScope, bundle: Bundle): NewDocument<BundleVersion> => {
  const { tenantId, createdAt, storefrontId, id, version, name, pricing, entitlements, refundEndsAccess, trialDays } = bundle
  const _id = keys.bundleVersion(storefrontId, id, version)
  return { _id, tenantId, createdAt, storefrontId, id, version, name, pricing, entitlements, refundEndsAccess, trialDays }
}

/** Changes nothing of what the bundle offers, and so makes no version. @throws AppError `not_found`; what `check` throws. */
export const changeBundle = (
  of: TenantScope,
  storefrontId: string,
  id: string,
  check: (bundle: Bundle) => void,
  change: SaleTerms & { name?: string | undefined },
): Promise<Bundle> =>
  update(of.storage.bundles, of.keys.bundle(storefrontId, id), (bundle) => {
    check(bundle)
    const { name = bundle.name } = change
    return { ...bundle, name, ...saleTermsOf(change), edition: editionOf(bundle) + 1 }
  })
