/**
 * Grants by hand: what a customer is given, or denied, by people and other systems and not by a subscription. All of a
 * customer's are in one document, so that every rule about them holds in the write that adds one.
 */
import { isDeepStrictEqual } from 'node:util'
import { dateIn } from '../../common/calendar.ts'
import { defined } from '../../common/defined.ts'
import type { Entitlement, GrantSource } from '../../common/entitlements/model.ts'
import { AppError, fieldError, isAppError } from '../../common/errors.ts'
import { claimKinds } from '../catalog/entitlement-kinds.ts'
import { getCustomer } from '../customers/customers.ts'
import { refuseErased } from '../customers/edit-customer.ts'
import { customerKeyOf } from '../keys.ts'
import { toEntitlement } from '../schemas/bundle.ts'
import type { CustomerGrants, GrantByHand } from '../schemas/customer-grants.ts'
import { decodeCursor, notFound, toPage } from '../storage/documents.ts'
import { removeForGood } from '../storage/remove.ts'
import type { NewDocument, Page, PageQuery } from '../storage/storage.ts'
import { update } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { checkSetFits } from './check-set-fits.ts'
import type { GivenGrants } from './grant-access.ts'
import { publishEntitlements } from './publish-entitlements.ts'

/** Whoever needs more for one customer wants a bundle; each of them is part of every set that is derived. */
const MAX_GRANTS = 200
/** Of those that have ended: enough to see what somebody had, and to know a late repeat by its external id. */
const MAX_ENDED = 100
const MAX_ENDED_BYTES = 256 * 1024

/** As a test clock has its bounds: what calendars are reckoned with. */
const [FIRST_TIME, LAST_TIME] = [new Date('1970-01-01T00:00:00Z'), new Date('2201-01-01T00:00:00Z')]

export interface GrantInput {
  entitlements: Entitlement[]
  source: GrantSource['type']
  mode: 'add' | NonNullable<GrantByHand['mode']>
  reason: string
  externalId?: string | undefined
  /** A date is its first instant in the storefront's time zone. Undefined: now. */
  from?: string | undefined
  until?: string | undefined
}

export interface GivenGrant {
  grant: GrantByHand
  entitlementRevision: number
}

interface CustomerName {
  storefront: string
  customer: string
}

const timeOf = (field: string, text: string, timeZone: string): Date => {
  const time = dateIn(text, timeZone)
  if (time < FIRST_TIME || time >= LAST_TIME) throw fieldError('invalid_request', field, 'must be from 1970 to 2200')
  return time
}

const grantFrom = (id: string, input: GrantInput, timeZone: string, now: Date): GrantByHand => {
  const { source, mode, reason, externalId } = input
  // What is denied has no terms: they would not count in the set, whose size bounds this document.
  const entitlements = mode === 'deny' ? input.entitlements.map(({ key, kind }) => ({ key, kind })) : input.entitlements
  const from = input.from === undefined ? now : timeOf('from', input.from, timeZone)
  const until = input.until === undefined ? undefined : timeOf('until', input.until, timeZone)
  if (until && until <= from) throw fieldError('invalid_request', 'until', `must be after ${from.toISOString()}, when the grant begins`)
  return defined({ id, externalId, source, mode: mode === 'add' ? undefined : mode, reason, entitlements, from, until, timeZone, createdAt: now })
}

/** A repeat that names no `from` means that of the first call. */
const contentOf = ({ entitlements, source, mode, reason, from, until }: GrantByHand, namesFrom: boolean) => ({
  entitlements: entitlements.map(toEntitlement).sort((a, b) => (a.key < b.key ? -1 : 1)),
  source,
  mode,
  reason,
  from: namesFrom ? from : undefined,
  until,
})

/** The one that was given before under this id, or external id. @throws AppError `already_exists` where it has another content. */
const knownAs = (grants: GivenGrants, grant: GrantByHand, namesFrom: boolean): GrantByHand | undefined => {
  const all = [...grants.living, ...grants.ended]
  const same = all.find(({ id }) => id === grant.id)
  if (same || grant.externalId === undefined) return same
  const known = all.find(({ externalId }) => externalId === grant.externalId)
  if (!known) return undefined
  const [before, now] = [contentOf(known, namesFrom), contentOf(grant, namesFrom)]
  const other = (Object.keys(before) as (keyof typeof before)[]).filter((field) => !isDeepStrictEqual(before[field], now[field]))
  if (other.length === 0) return known
  const why = `the customer already has the grant ${known.id} under this id, with another ${other.join(', ')}; DELETE it first, or use another externalId`
  throw fieldError('already_exists', 'externalId', why)
}

const isOver = ({ until }: GrantByHand, now: Date): boolean => until !== undefined && until <= now

/** What has ended is put aside, and the oldest of that forgotten. A test clock may have gone back. Pure. */
const tidied = <G extends GivenGrants>(grants: G, now: Date): G => {
  const endOf = ({ until }: GrantByHand): number => until?.getTime() ?? 0
  const all = [...grants.living, ...grants.ended]
  let bytes = 0
  const isKept = (grant: GrantByHand, n: number): boolean => {
    bytes += Buffer.byteLength(JSON.stringify(grant))
    return n < MAX_ENDED && bytes <= MAX_ENDED_BYTES
  }
  const ended = all.filter((grant) => isOver(grant, now)).sort((a, b) => endOf(b) - endOf(a))
  return { ...grants, living: all.filter((grant) => !isOver(grant, now)), ended: ended.filter(isKept) }
}

/** @throws AppError `invalid_request` or `not_allowed_in_state`. */
const withGrant = <G extends GivenGrants>(grants: G, grant: GrantByHand, now: Date): G => {
  if (isOver(grant, now)) throw fieldError('invalid_request', 'until', `must be after now, which is ${now.toISOString()}`)
  const latest = tidied(grants, now)
  if (latest.living.length >= MAX_GRANTS) {
    const why = `the customer already has ${MAX_GRANTS} grants that have not ended; DELETE those that are not needed, or sell what they give as a bundle`
    throw new AppError('not_allowed_in_state', why)
  }
  return { ...latest, living: [...latest.living, grant] }
}

/** @param decide as for `update`; of the first grant, too, whose document is then made. */
const write = async (
  of: TenantScope,
  empty: NewDocument<CustomerGrants>,
  decide: <G extends GivenGrants>(grants: G) => Promise<G | undefined>,
): Promise<CustomerGrants> => {
  const { customerGrants } = of.storage
  if (!(await customerGrants.find(empty._id))) {
    try {
      return await customerGrants.insert((await decide(empty)) ?? empty)
    } catch (error) {
      if (!isAppError(error, 'already_exists')) throw error
    }
  }
  return update(customerGrants, empty._id, decide)
}

/**
 * Given again under the same external id, or the same id, it is the one that is there.
 * @throws AppError `not_found`, `not_allowed_in_state`, `invalid_request`, `already_exists` or `set_too_large`.
 */
export const giveGrant = async (of: TenantScope, name: CustomerName, id: string, input: GrantInput): Promise<GivenGrant> => {
  const { tenantId, storage } = of
  const customer = { tenantId, storefrontId: name.storefront, customerId: name.customer }
  const _id = of.keys.customer(name.storefront, name.customer)
  refuseErased(await storage.customers.get(_id))
  const { timeZone } = await storage.storefronts.get(of.keys.storefront(name.storefront))
  const now = of.now()
  const grant = grantFrom(id, input, timeZone, now)
  const isRepeat = (grants: GivenGrants) => knownAs(grants, grant, input.from !== undefined)
  const empty = { _id, ...customer, living: [], ended: [], createdAt: now, repairAt: of.repairAt() }
  const stored = await write(of, empty, async (grants) => {
    if (isRepeat(grants)) return undefined
    const given = withGrant(grants, grant, now)
    await checkSetFits(of, customer, [], given)
    // Stored before the grant, as before a bundle; it may be stored again.
    await claimKinds(of, { tenantId, storefrontId: name.storefront }, input.entitlements, undefined)
    return { ...given, repairAt: of.repairAt() }
  })
  if (await forgetIfErased(of, stored)) refuseErased(await storage.customers.get(_id))
  return { grant: isRepeat(stored) ?? grant, entitlementRevision: await publish(of, stored) }
}

/** @throws AppError `not_found`; what `check` throws. */
export const removeGrant = async (of: TenantScope, name: CustomerName, id: string, check: (grant: { revision: number }) => void): Promise<void> => {
  const { _id } = await getCustomer(of, of.keys.customer(name.storefront, name.customer))
  const stored = await update(of.storage.customerGrants, _id, (grants) => {
    find(grants, id)
    check({ revision: GRANT_REVISION })
    const others = (list: GrantByHand[]): GrantByHand[] => list.filter((one) => one.id !== id)
    return { ...tidied({ ...grants, living: others(grants.living), ended: others(grants.ended) }, of.now()), repairAt: of.repairAt() }
  })
  await publish(of, stored)
}

/** Of every grant, since none ever changes. */
export const GRANT_REVISION = 1

const find = ({ living, ended }: GivenGrants, id: string): GrantByHand => {
  const found = [...living, ...ended].find((one) => one.id === id)
  if (!found) throw notFound('customerGrants')
  return found
}

/** @throws AppError `not_found`. */
export const getGrant = async (of: TenantScope, name: CustomerName, id: string): Promise<GrantByHand> => {
  const { _id } = await getCustomer(of, of.keys.customer(name.storefront, name.customer))
  return find(await of.storage.customerGrants.get(_id), id)
}

/** The oldest first. @throws AppError `not_found`, or `invalid_request` on `cursor`. */
export const listGrants = async (of: TenantScope, name: CustomerName, pages: Pick<PageQuery, 'limit' | 'cursor'>): Promise<Page<GrantByHand>> => {
  const { _id } = await getCustomer(of, of.keys.customer(name.storefront, name.customer))
  const grants = await of.storage.customerGrants.find(_id)
  const query = { where: { grantsOf: _id }, ...pages }
  const place = decodeCursor(query)
  const isAfter = ({ createdAt, id }: GrantByHand): boolean =>
    !place || createdAt > place.createdAt || (createdAt.getTime() === place.createdAt.getTime() && id > place.id)
  const rows = [...(grants?.living ?? []), ...(grants?.ended ?? [])]
    .filter(isAfter)
    .sort((a, b) => a.createdAt.getTime() - b.createdAt.getTime() || (a.id < b.id ? -1 : 1))
  return toPage(
    query,
    rows.map((grant) => ({ ...grant, _id: grant.id })),
  )
}

/** An erasure marks the customer before it takes the grants away, and they are stored before this looks for the mark: one sees the other. */
const forgetIfErased = async ({ storage }: TenantScope, { _id }: CustomerGrants): Promise<boolean> => {
  const owner = await storage.customers.find(_id)
  if (owner && !owner.erasing) return false
  await removeForGood(storage.customerGrants, _id)
  return true
}

/** Takes the mark away if nobody has written since: who has publishes, too. @returns the revision of the customer's set. */
const publish = async (of: TenantScope, stored: CustomerGrants): Promise<number> => {
  const { revision, published } = await publishEntitlements(of, customerKeyOf(stored))
  if (!published || !stored.repairAt) return revision
  try {
    await of.storage.customerGrants.replace(defined({ ...stored, repairAt: undefined }))
  } catch (error) {
    if (!isAppError(error, 'revision_conflict', 'not_found')) throw error
  }
  return revision
}

/** Publishes what a crash left unpublished. */
export const announceGrants = async (of: TenantScope, grants: CustomerGrants): Promise<void> => {
  if (!(await forgetIfErased(of, grants))) await publish(of, grants)
}
