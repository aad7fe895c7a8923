import { intervals } from '../../../common/calendar.ts'
import { defined } from '../../../common/defined.ts'
import { fieldError } from '../../../common/errors.ts'
import { type BundleInput, changeBundle, createBundle, editionOf, replaceBundle } from '../../catalog/bundles.ts'
import { type Bundle, type BundleVersion, toEntitlement } from '../../schemas/bundle.ts'
import { amountMinor, currency, id, instant, iso, isoOrNull, name, pageAnswer, pageOf, pageQuery, z } from '../fields.ts'
import { mustMatch } from '../precondition.ts'
import { ofList, ofNewDocument, route } from '../route.ts'
import { entitlementAnswer, entitlementsInput } from './entitlement-input.ts'

/** Ten years of days. */
const MAX_INTERVAL_COUNT = 3_660
const MAX_TRIAL_DAYS = 730

const intervalCount = z.int().min(1).max(MAX_INTERVAL_COUNT)

/** Of the bundle itself, in whichever version: what is left out stays as it is. */
const saleTerms = {
  onSale: z.boolean().optional().openapi({ description: 'false: nobody can subscribe or change to it; existing subscribers keep it. Default true.' }),
  onePerCustomer: z.boolean().optional().openapi({ description: 'Whether a customer may have only one subscription to it that has not ended. Default false.' }),
}

const content = {
  name,
  pricing: z.strictObject({
    amount: amountMinor.min(0).openapi({ description: 'Minor units: 2900 is $29.00. 0 is free.', example: 2900 }),
    currency,
    interval: z.enum(intervals),
    intervalCount: intervalCount.optional(),
  }),
  intervalCount: intervalCount.optional().openapi({ description: 'Bill every intervalCount intervals; the same as pricing.intervalCount. Default 1.' }),
  entitlements: entitlementsInput,
  trialDays: z.int().min(0).max(MAX_TRIAL_DAYS).default(0),
  refundEndsAccess: z.boolean().default(false).openapi({ description: "Whether refunding a period's payment in full ends the subscription." }),
  ...saleTerms,
}

interface Counted {
  intervalCount?: number | undefined
  pricing: { intervalCount?: number | undefined }
}
const oneCount = { message: 'differs from pricing.intervalCount; send only one of them', path: ['intervalCount'] }
const hasOneCount = ({ intervalCount: outer, pricing: { intervalCount: inner } }: Counted) => outer === undefined || inner === undefined || outer === inner

const postBody = z
  .strictObject({ id: id.optional(), storefrontId: id, ...content })
  .refine(hasOneCount, oneCount)
  .openapi('NewBundle')
const putBody = z
  .strictObject({
    id: id.optional(),
    storefrontId: id.optional(),
    ...content,
    applyTo: z
      .enum(['new', 'all'])
      .default('new')
      .openapi({ description: 'all: existing subscribers are moved too, in the background: entitlements at once, the price from their next period.' }),
  })
  .refine(hasOneCount, oneCount)
  .openapi('NewBundleVersion')

const input = (body: z.output<typeof postBody> | z.output<typeof putBody>): BundleInput => ({
  name: body.name,
  pricing: {
    amountMinor: body.pricing.amount,
    currency: body.pricing.currency,
    interval: body.pricing.interval,
    intervalCount: body.intervalCount ?? body.pricing.intervalCount ?? 1,
  },
  entitlements: body.entitlements,
  trialDays: body.trialDays,
  refundEndsAccess: body.refundEndsAccess,
})

export const bundleAnswer = z
  .object({
    id: z.string(),
    storefrontId: z.string(),
    version: z.int(),
    name: z.string(),
    pricing: z.object({ amount: z.int(), currency: z.string(), interval: z.enum(intervals), intervalCount: z.int() }),
    entitlements: z.array(entitlementAnswer),
    trialDays: z.int(),
    refundEndsAccess: z.boolean(),
    onSale: z.boolean(),
    onePerCustomer: z.boolean(),
    rollout: z
      .object({ version: z.int(), status: z.enum(['running', 'finished']), seen: z.int(), moved: z.int(), startedAt: instant, finishedAt: instant.nullable() })
      .nullable()
      .openapi({ description: 'The progress of the last PUT with applyTo: all.' }),
  })
  .openapi('Bundle')

/** @param present the bundle as it is now, where an older version of it is shown. */
export const toBundleAnswer = (
  bundle: Bundle | BundleVersion,
  { onSale, onePerCustomer, rollout }: Pick<Bundle, 'onSale' | 'onePerCustomer' | 'rollout'>,
): z.output<typeof bundleAnswer> => ({
  id: bundle.id,
  storefrontId: bundle.storefrontId,
  version: bundle.version,
  name: bundle.name,
  pricing: {
    amount: bundle.pricing.amountMinor,
    currency: bundle.pricing.currency,
    interval: bundle.pricing.interval,
    intervalCount: bundle.pricing.intervalCount,
  },
  entitlements: bundle.entitlements.map(toEntitlement),
  trialDays: bundle.trialDays,
  refundEndsAccess: bundle.refundEndsAccess,
  onSale: onSale ?? true,
  onePerCustomer: onePerCustomer ?? false,
  rollout: rollout
    ? {
        version: rollout.version,
        status: rollout.finishedAt ? 'finished' : 'running',
        seen: rollout.seen,
        moved: rollout.moved,
        startedAt: iso(rollout.startedAt),
        finishedAt: isoOrNull(rollout.finishedAt),
      }
    : null,
})

const answer = (bundle: Bundle) => ({ body: toBundleAnswer(bundle, bundle), revision: editionOf(bundle) })
const params = z.object({ storefront: id, bundle: id })

const mustBeEdition = (ifMatch: number | undefined) => (bundle: Bundle) => mustMatch(ifMatch)({ revision: editionOf(bundle) })

const sameAsPath = (field: string, said: string | undefined, path: string): void => {
  if (said !== undefined && said !== path) throw fieldError('invalid_request', field, `must be ${path}, as in the path, or left out`)
}

export const bundleRoutes = [
  route({
    method: 'post',
    path: '/v1/bundles',
    summary: 'Create a bundle in a storefront',
    description: 'Within a storefront, an entitlement key has one kind in all bundles. A bundle that uses a key with another kind is refused.',
    access: 'catalog:write',
    storefront: 'body',
    ifMatch: ofNewDocument,
    body: postBody,
    refusals: ['already_exists', 'unknown_reference'],
    status: 201,
    answer: bundleAnswer,
    handle: async ({ of, body, newId }) => answer(await createBundle(of, body.storefrontId, body.id ?? newId('bundle'), input(body), body)),
  }),
  route({
    method: 'get',
    path: '/v1/storefronts/{storefront}/bundles',
    summary: 'List the bundles of a storefront',
    access: 'catalog:read',
    storefront: 'path',
    ifMatch: ofList,
    params: z.object({ storefront: id }),
    query: z.strictObject(pageQuery),
    status: 200,
    answer: pageOf(bundleAnswer),
    handle: async ({ of, params, query }) => {
      const { tenantId } = of
      await of.storage.storefronts.get(of.keys.storefront(params.storefront))
      const page = await of.storage.bundles.page({ where: { tenantId, storefrontId: params.storefront }, ...query })
      return pageAnswer(page, (bundle) => toBundleAnswer(bundle, bundle))
    },
  }),
  route({
    method: 'get',
    path: '/v1/storefronts/{storefront}/bundles/{bundle}',
    summary: 'Read a bundle',
    description: 'The answer is the newest version, or the version that you name.',
    access: 'catalog:read',
    storefront: 'path',
    ifMatch: 'answer',
    params,
    query: z.strictObject({ version: z.coerce.number().int().min(1).optional() }),
    status: 200,
    answer: bundleAnswer,
    handle: async ({ of, params, query }) => {
      const bundle = await of.storage.bundles.get(of.keys.bundle(params.storefront, params.bundle))
      if (query.version === undefined || query.version === bundle.version) return answer(bundle)
      const past = await of.storage.bundleVersions.get(of.keys.bundleVersion(params.storefront, params.bundle, query.version))
      return { body: toBundleAnswer(past, defined({ onSale: bundle.onSale, onePerCustomer: bundle.onePerCustomer })) }
    },
  }),
  route({
    method: 'put',
    path: '/v1/storefronts/{storefront}/bundles/{bundle}',
    summary: 'Create a new version of a bundle',
    description:
      'The version applies to new subscriptions, and existing subscribers keep their terms. With applyTo=all, Tollgate also moves existing subscribers in the background: they get the entitlements at once and the price from their next period. While a version is being rolled out to all, a version for new subscribers only is refused.',
    access: 'catalog:write',
    storefront: 'path',
    ifMatch: { document: 'the bundle' },
    params,
    body: putBody,
    status: 200,
    answer: bundleAnswer,
    handle: async ({ of, params, body, ifMatch }) => {
      sameAsPath('id', body.id, params.bundle)
      sameAsPath('storefrontId', body.storefrontId, params.storefront)
      return answer(await replaceBundle(of, params.storefront, params.bundle, mustBeEdition(ifMatch), input(body), body.applyTo, body))
    },
  }),
  route({
    method: 'patch',
    path: '/v1/storefronts/{storefront}/bundles/{bundle}',
    summary: 'Change how a bundle is sold',
    description:
      'Takes the bundle off sale or puts it back, sells it once per customer, or renames it. The call creates no new version, and existing subscribers keep the bundle.',
    access: 'catalog:write',
    storefront: 'path',
    ifMatch: { document: 'the bundle' },
    params,
    body: z.strictObject({ name: name.optional(), ...saleTerms }),
    status: 200,
    answer: bundleAnswer,
    handle: async ({ of, params, body, ifMatch }) => answer(await changeBundle(of, params.storefront, params.bundle, mustBeEdition(ifMatch), body)),
  }),
]
