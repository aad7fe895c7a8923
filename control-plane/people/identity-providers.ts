/** Where a tenant's people sign in, and which groups there have which role here. */
import type { Secret } from '../../common/secret.ts'
import type { Caller } from '../access/caller.ts'
import { checkRole, mayGive, permissionsOf } from '../access/roles.ts'
import { knownStorefronts } from '../catalog/storefronts.ts'
import { keys } from '../keys.ts'
import type { Services } from '../ports.ts'
import type { IdentityProvider } from '../schemas/user.ts'
import { insertOrGet, update } from '../storage/update.ts'

export interface IdentityProviderInput {
  issuer: string
  clientId: string
  /** Left out: the one that is there stays. */
  clientSecret?: Secret | undefined
  scopes: string[]
  groupsClaim: string
  groups: { group: string; role: string; storefronts?: string[] | undefined }[]
}

/** Nobody may replace the provider of people who may do more than they: it decides who comes in. @throws AppError `forbidden`. */
const mayReplace = async (services: Services, caller: Caller, { tenantId, groups }: IdentityProvider): Promise<void> => {
  for (const { role } of groups) mayGive(caller, (await permissionsOf(services, tenantId, role)) ?? [])
}

/**
 * @param check of the one that is there; of a new one nobody names a revision.
 * @throws AppError `forbidden`, `invalid_request` on `role`, or `unknown_reference`; what `check` throws.
 */
export const setIdentityProvider = async (
  services: Services,
  tenantId: string,
  caller: Caller,
  check: (provider: { revision: number }) => void,
  { clientSecret, groups, ...input }: IdentityProviderInput,
): Promise<IdentityProvider> => {
  const { storage, sealing, clock } = services
  for (const [n, { role, storefronts }] of groups.entries()) {
    await checkRole(services, tenantId, caller, role, `groups[${n}].role`)
    if (storefronts) await knownStorefronts(services, tenantId, storefronts)
  }
  const _id = keys.identityProvider(tenantId)
  const said = {
    ...input,
    groups: groups.map(({ storefronts, ...group }) => ({ ...group, ...(storefronts ? { storefronts } : {}) })),
    ...(clientSecret === undefined ? {} : { clientSecret: sealing.seal(clientSecret, _id) }),
  } as Omit<IdentityProvider, '_id' | 'tenantId' | 'revision' | 'createdAt' | 'updatedAt'>
  const there = await storage.identityProviders.find(_id)
  if (!there) {
    // Of none nobody has read a revision.
    check({ revision: 0 })
    return insertOrGet(storage.identityProviders, { _id, tenantId, createdAt: clock.now(), ...said })
  }
  await mayReplace(services, caller, there)
  return update(storage.identityProviders, _id, (latest) => {
    check(latest)
    // The secret of one issuer is not shown to another.
    const { clientSecret: kept, ...rest } = latest
    return { ...rest, ...(kept && latest.issuer === said.issuer && latest.clientId === said.clientId ? { clientSecret: kept } : {}), ...said }
  })
}

/** People who have signed in there have no way in any more. @throws AppError `not_found` or `forbidden`; what `check` throws. */
export const removeIdentityProvider = async (
  services: Services,
  tenantId: string,
  caller: Caller,
  check: (provider: IdentityProvider) => void,
): Promise<void> => {
  const { storage } = services
  const provider = await storage.identityProviders.get(keys.identityProvider(tenantId))
  check(provider)
  await mayReplace(services, caller, provider)
  await storage.identityProviders.remove(provider)
}
