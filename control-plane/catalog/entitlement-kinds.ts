/**
 * A key of an entitlement is of one kind in a storefront, whichever bundle, version or grant by hand has it: a customer may
 * hold it from several, and a flag and a quota have no answer in common. The kind is stored before the bundle or grant, so
 * that of two made at the same moment with one key of two kinds one is refused.
 */

import { defined } from '../../common/defined.ts'
import type { Entitlement } from '../../common/entitlements/model.ts'
import { AppError, type FieldError } from '../../common/errors.ts'
import type { Bundle, EntitlementKind } from '../schemas/bundle.ts'
import { every } from '../storage/every.ts'
import { insertOrGet } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'

type Kind = Pick<EntitlementKind, 'kind' | 'bundleId'>

/** Bundles may be older than this rule: of those that have one of the keys, the kind in the oldest. */
const kindsInBundles = async (of: TenantScope, storefrontId: string, wanted: ReadonlySet<string>): Promise<Map<string, Kind>> => {
  const found = new Map<string, Kind>()
  for await (const { id: bundleId, entitlements } of every(of.storage.bundles, { tenantId: of.tenantId, storefrontId })) {
    for (const { key, kind } of entitlements) if (wanted.has(key) && !found.has(key)) found.set(key, { kind, bundleId })
  }
  return found
}

interface Place {
  tenantId: string
  storefrontId: string
  /** Absent: a grant by hand. */
  bundleId?: string
}

const holderOf = ({ bundleId }: Kind, own: string | undefined): string => {
  if (bundleId === undefined) return 'a grant by hand has'
  return bundleId === own ? 'this bundle has' : `the bundle ${bundleId} has`
}

/** @param kindOf what is known of a key. @throws AppError `invalid_request`, naming every entitlement whose kind is another. */
const checkKinds = (
  entitlements: readonly Entitlement[],
  present: readonly Pick<Entitlement, 'key' | 'kind'>[],
  kindOf: (key: string) => Kind | undefined,
  bundleId: string | undefined,
): void => {
  const errors = entitlements.flatMap(({ key, kind }, n): FieldError[] => {
    const known = kindOf(key)
    // What a bundle has had since before this rule it may keep.
    if (!known || known.kind === kind || present.some((one) => one.key === key && one.kind === kind)) return []
    return [
      {
        field: `entitlements[${n}].kind`,
        message: `must be ${known.kind}: ${holderOf(known, bundleId)} ${key} with that kind, and a key has one kind only; use another key`,
      },
    ]
  })
  if (errors.length > 0) throw new AppError('invalid_request', errors.map(({ field, message }) => `${field}: ${message}`).join('; '), errors)
}

/**
 * Makes sure that every key is of the kind that it has in the storefront, and has that kind from now on.
 * @param present the bundle as it is stored, where it is.
 * @throws AppError `invalid_request`; then no kind is stored, unless another bundle was made at the same moment.
 */
export const claimKinds = async (
  of: TenantScope,
  { tenantId, storefrontId, bundleId }: Place,
  entitlements: readonly Entitlement[],
  present: Bundle | undefined,
): Promise<void> => {
  const { entitlementKinds } = of.storage
  const id = (key: string) => of.keys.entitlementKind(storefrontId, key)
  const own = present?.entitlements ?? []
  // Those that it is about to lose as well: who has the version that had them keeps them.
  const named = new Map([...own, ...entitlements].map(({ key, kind }) => [key, kind]))
  const known = new Map<string, Kind>()
  for (const found of await Promise.all([...named.keys()].map((key) => entitlementKinds.find(id(key))))) if (found) known.set(found.key, found)
  const unknown = new Set([...named.keys()].filter((key) => !known.has(key)))
  if (unknown.size > 0) for (const [key, kind] of await kindsInBundles(of, storefrontId, unknown)) known.set(key, kind)
  checkKinds(entitlements, own, (key) => known.get(key), bundleId)
  const stored = await Promise.all(
    [...named]
      .filter(([key]) => unknown.has(key))
      .map(([key, kind]) => {
        const first = known.get(key) ?? defined({ kind, bundleId })
        return insertOrGet(entitlementKinds, { _id: id(key), tenantId, createdAt: of.now(), storefrontId, key, ...first })
      }),
  )
  for (const one of stored) known.set(one.key, one)
  checkKinds(entitlements, own, (key) => known.get(key), bundleId)
}
