/**
 * Publishing is level-triggered: a customer's set is derived from stored state, compared with the stored set, and
 * stored and published under the next revision only if it differs. Running it again is always harmless.
 *
 * What makes it safe against other processes is the order of reading: the stored set first, what it is derived from
 * second. Whoever wrote a newer set in between makes the compare-and-set fail.
 */

import { isDeepStrictEqual } from 'node:util'
import { defined } from '../../common/defined.ts'
import { derive } from '../../common/entitlements/derive.ts'
import type { CustomerKey, EntitlementSet } from '../../common/entitlements/model.ts'
import { isAppError } from '../../common/errors.ts'
import type { Feed } from '../../common/feed/feed.ts'
import type { Log } from '../../common/log.ts'
import { isPseudonym } from '../customers/pseudonym.ts'
import { keys } from '../keys.ts'
import { usedNow } from '../metering/tell-usage.ts'
import type { StoredEntitlementSet } from '../schemas/entitlement-set.ts'
import type { OwnCollections } from '../storage/own-collections.ts'
import { sourceOf } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { accessOf, holdersOf, sourcesOf } from './sources.ts'

/** Each lost race means that another process published; this many in a row is a fault. */
const MAX_TRIES = 50

type Contents = Pick<StoredEntitlementSet, 'grants' | 'usage' | 'usageSeq' | 'hidden'>
type Derived = Contents & Pick<StoredEntitlementSet, 'derivedAt'>

/** What makes a new revision. What has been used does not: it is told apart (`metering/tell-usage.ts`), and published with the next. */
const accessIn = ({ grants, hidden }: Contents): Pick<Contents, 'grants' | 'hidden'> => defined({ grants, hidden })

/** The contents that the customer's set has to have, by what is stored now. */
const deriveSet = async (of: TenantScope, customer: CustomerKey, stored: Contents | undefined, changed: Iterable<string>) => {
  const counters = await of.storage.usageCounters.find(of.keys.customer(customer.storefrontId, customer.customerId))
  const sources = await sourcesOf(of, customer, stored, counters, changed)
  const { grants, hidden } = derive(accessOf(sources))
  return defined({ grants, hidden, usage: usedNow(of, counters, { grants, holders: holdersOf(sources) }), usageSeq: counters?.seq })
}

export const toEntitlementSet = (stored: StoredEntitlementSet): EntitlementSet => ({
  tenantId: stored.tenantId,
  storefrontId: stored.storefrontId,
  customerId: stored.customerId,
  revision: stored.revision + (stored.after ?? 0),
  sandbox: stored.sandbox,
  grants: stored.grants,
  usage: stored.usage,
  ...(stored.usageSeq === undefined ? {} : { usageSeq: stored.usageSeq }),
})

/** The set as it was published, with what has been used by now. */
export const withUsageOfNow = async (of: TenantScope, stored: StoredEntitlementSet): Promise<EntitlementSet> => ({
  ...toEntitlementSet(stored),
  usage: (await deriveSet(of, stored, stored, [])).usage,
})

/**
 * The first set of a customer. An erasure marks the customer before it looks for the set, and this stores the set before
 * it looks for the mark: one of them sees the other.
 * @returns undefined when the customer is being erased, or is no more. @throws AppError `already_exists`.
 */
const insertSet = async ({ storage, clock, tenant }: TenantScope, set: Pick<StoredEntitlementSet, '_id' | 'storefrontId' | 'customerId'> & Derived) => {
  const { tenantId, mode } = tenant
  const tombstone = await storage.tombstones.find(keys.tombstone(tenantId, set.storefrontId, set.customerId))
  const after = tombstone ? { after: tombstone.lastRevision } : {}
  const inserted = await storage.entitlementSets.insert({ ...set, ...after, tenantId, sandbox: mode === 'sandbox', createdAt: clock.now() })
  const owner = await storage.customers.find(set._id)
  if (owner && !owner.erasing) return inserted
  await storage.entitlementSets.remove(inserted)
  return undefined
}

/** Derives and stores; no I/O to the feed. @returns the set as it is stored now; undefined when the customer is no more. */
const refreshStoredSet = async (of: TenantScope, customer: CustomerKey, changed: Iterable<string>): Promise<EntitlementSet | undefined> => {
  const { entitlementSets } = of.storage
  const id = of.keys.customer(customer.storefrontId, customer.customerId)
  for (let tries = 1; ; tries += 1) {
    const stored = await entitlementSets.find(id)
    const contents = await deriveSet(of, customer, stored, changed)
    if (stored && isDeepStrictEqual(accessIn(stored), accessIn(contents))) return toEntitlementSet(stored)
    try {
      if (stored) return toEntitlementSet(await entitlementSets.replace({ ...stored, ...contents, derivedAt: of.now() }))
      const { storefrontId, customerId } = customer
      const inserted = await insertSet(of, { _id: id, storefrontId, customerId, ...contents, derivedAt: of.now() })
      return inserted && toEntitlementSet(inserted)
    } catch (error) {
      if (!isAppError(error, 'revision_conflict', 'already_exists', 'not_found') || tries === MAX_TRIES) throw error
    }
  }
}

/**
 * Puts a set into the feed; in place of one that cannot be put, word that it is missing, so that sidecars know that what
 * they hold is old. Such a set is not tried again by itself: its next revision is, and `npm run republish` does.
 * @returns whether the set itself was put. @throws AppError `unavailable` when neither could be.
 */
export const putSetOrSay = async (feed: Feed, set: EntitlementSet, log: Log): Promise<boolean> => {
  try {
    await feed.putSet(set)
    return true
  } catch (error) {
    if (!isAppError(error, 'set_too_large', 'internal')) throw error
    const isNews = await feed.putMissing(set, set.revision)
    const { tenantId, storefrontId, customerId, revision } = set
    if (isNews)
      log.error(
        { err: error, tenantId, storefrontId, customerId, revision },
        "a customer's entitlements cannot be published: its sidecars answer from what they had, marked as stale",
      )
    return false
  }
}

/** The message to the feed that a customer is gone. Undefined: none of this id was erased. */
export const removalOf = async (
  { tombstones }: Pick<OwnCollections, 'tombstones'>,
  of: CustomerKey & { sandbox: boolean },
): Promise<EntitlementSet | undefined> => {
  const { tenantId, storefrontId, customerId, sandbox } = of
  const tombstone = await tombstones.find(keys.tombstone(tenantId, storefrontId, customerId))
  return tombstone && { tenantId, storefrontId, customerId, revision: tombstone.lastRevision, sandbox, grants: [], usage: [], removed: true }
}

interface Parts extends Pick<TenantScope, 'feed' | 'log'> {
  storage: Pick<OwnCollections, 'entitlementSets' | 'tombstones'>
}

/**
 * Like `putSetOrSay`, with the set that storage has by then. Where the feed may take the older of two, whoever comes last sees
 * here that it was not the newest, since what is put was stored before.
 */
export const putLatest = async ({ storage, feed, log }: Parts, set: EntitlementSet): Promise<boolean> => {
  let latest = set
  for (;;) {
    const isPut = await putSetOrSay(feed, latest, log)
    if (!feed.mayReorder()) return isPut
    const stored = await storage.entitlementSets.find(keys.customer(set.tenantId, set.storefrontId, set.customerId))
    const now = stored ? toEntitlementSet(stored) : await removalOf(storage, set)
    if (!now || now.revision <= latest.revision) return isPut
    latest = now
  }
}

export interface Publication {
  /** The revision of the set that shows everything stored before the call; 0 when the customer is gone. */
  revision: number
  /** True if the feed has the set, or has been told that it cannot have it. */
  published: boolean
}

const publishNow = async (of: TenantScope, customer: CustomerKey, changed: Iterable<string>): Promise<Publication> => {
  const set = isPseudonym(customer.customerId) ? undefined : await refreshStoredSet(of, customer, changed)
  // Nobody asks about a customer that is no more.
  if (!set) return { revision: 0, published: true }
  try {
    await putLatest(of, set)
    return { revision: set.revision, published: true }
  } catch (error) {
    if (!isAppError(error, 'unavailable')) throw error
    of.log.warn({ err: error, tenantId: customer.tenantId }, 'an entitlement set could not be published yet')
    return { revision: set.revision, published: false }
  }
}

/** The turn of one customer: the publication under way, and the next, which whoever comes meanwhile shares. */
interface Turn {
  running: Promise<unknown>
  next: Promise<Publication> | undefined
  /** Ids of the subscriptions that the next is for. */
  changed: Set<string>
}
const turnsOf = new WeakMap<object, Map<string, Turn>>()

/**
 * A set is made of all that its customer has, so that each publication costs as much. Those that come while one is under way
 * wait for it and share the next, which sees what each of them has stored: five hundred renewals of one customer at once
 * are a few publications. When the feed is away the caller leaves its `repairAt` mark standing, and a sweeper publishes later.
 * @param changed the id of the subscription that it is for; whoever ends one has to say so, for it is not looked for.
 */
export const publishEntitlements = (of: TenantScope, customer: CustomerKey, changed?: string): Promise<Publication> => {
  const turns = turnsOf.get(sourceOf(of.storage)) ?? new Map<string, Turn>()
  turnsOf.set(sourceOf(of.storage), turns)
  const key = of.keys.customer(customer.storefrontId, customer.customerId)
  const begin = (ids: Set<string>): Promise<Publication> => {
    const turn: Turn = { running: Promise.resolve(), next: undefined, changed: new Set() }
    turns.set(key, turn)
    const run = publishNow(of, customer, ids)
    turn.running = run.then(
      () => undefined,
      () => undefined,
    )
    return run.finally(() => {
      if (turns.get(key) === turn && !turn.next) turns.delete(key)
    })
  }
  const turn = turns.get(key)
  if (!turn) return begin(new Set(changed === undefined ? [] : [changed]))
  if (changed !== undefined) turn.changed.add(changed)
  turn.next ??= turn.running.then(() => begin(turn.changed))
  return turn.next
}
