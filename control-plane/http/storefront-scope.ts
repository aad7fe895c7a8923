/** Callers that are limited to some storefronts: the one place where that is heeded, before any route's own work. */
import { AppError } from '../../common/errors.ts'
import { notFound } from '../storage/documents.ts'
import type { TenantScope } from '../tenant-scope.ts'
import type { Call, StorefrontRule } from './route.ts'

/** @param within undefined: to none is the caller limited. */
export const isWithin = (within: readonly string[] | undefined, storefrontId: string): boolean => !within || within.includes(storefrontId)

/** @throws AppError `forbidden`, for a storefront that the caller names. */
export const mustBeWithin = (within: readonly string[] | undefined, storefrontId: string | undefined): void => {
  if (!within || (storefrontId !== undefined && within.includes(storefrontId))) return
  throw new AppError('forbidden', `this caller is limited to the storefronts ${within.join(', ')}`)
}

/** @throws AppError `not_found` for what is of another storefront, as if it were not there: whether it is is not the caller's business. */
export const mustBeOfStorefront = async (
  { storage, keys }: TenantScope,
  kind: 'subscription' | 'payment',
  id: string,
  within: readonly string[] | undefined,
): Promise<void> => {
  if (!within) return
  const name = `${kind}s` as const
  const document = await storage[name].find(keys[kind](id))
  if (document && !within.includes(document.storefrontId)) throw notFound(name)
}

type Named = Record<string, string | undefined>

/** @throws AppError `forbidden` or `not_found`, as above. */
export const checkStorefront = async (rule: StorefrontRule, call: Omit<Call<unknown, unknown, unknown>, 'newId'>): Promise<void> => {
  const { within } = call
  if (!within) return
  const [params, body, query] = [call.params as Named, call.body as Named, call.query as Named]
  switch (rule) {
    case 'none':
    case 'within':
      return
    case 'all':
      throw new AppError('forbidden', `this route is about the whole tenant, but this caller is limited to the storefronts ${within.join(', ')}`)
    case 'path':
      return mustBeWithin(within, params.storefront)
    case 'body':
      return mustBeWithin(within, body.storefrontId)
    case 'query':
      return mustBeWithin(within, query.storefrontId)
    case 'subscription':
    case 'payment':
      return mustBeOfStorefront(call.of, rule, params[rule] ?? '', within)
    default:
      rule satisfies never
  }
}
