/**
 * A customer's set as memory holds it: small, and with each key's grants at hand. Customers of one bundle have the same keys, and
 * share the list of them.
 */
import { LRUCache } from 'lru-cache'
import type { EntitlementSet, Grant, Usage } from '../common/entitlements/model.ts'
import { quotaWindow } from '../common/entitlements/quota-window.ts'
import { decodeSet } from '../common/entitlements/wire.ts'

/** Where each key's grants are. */
type Positions = ReadonlyMap<string, readonly number[]>

export interface HeldSet extends Pick<EntitlementSet, 'grants' | 'usage'> {
  positions: Positions
}

/** Bundles, and combinations of them, that the customers in memory have. What is forgotten is only not shared. */
const MAX_SHARED = 10_000
const shared = new LRUCache<string, { keys: string[]; positions: Positions }>({ max: MAX_SHARED })
const texts = new LRUCache<string, string>({ max: MAX_SHARED })

const share = (text: string): string => {
  const known = texts.get(text)
  if (known === undefined) texts.set(text, text)
  return known ?? text
}

const positionsOf = (grants: readonly Grant[]): { keys: string[]; positions: Positions } => {
  const keys = grants.map(({ key }) => key)
  const name = JSON.stringify(keys)
  const known = shared.get(name)
  if (known) return known
  const positions = new Map<string, number[]>()
  for (const [at, key] of keys.entries()) positions.set(key, [...(positions.get(key) ?? []), at])
  const made = { keys, positions }
  shared.set(name, made)
  return made
}

/** @throws for bytes that are no set that this version can read. */
export const readHeldSet = (bytes: Uint8Array): HeldSet => {
  const { grants, usage } = decodeSet(bytes)
  const { keys, positions } = positionsOf(grants)
  let subscriptionId = ''
  for (const [at, grant] of grants.entries()) {
    grant.key = keys[at] ?? grant.key
    grant.bundleId = share(grant.bundleId)
    // Most grants of a customer are of one subscription.
    if (grant.subscriptionId === subscriptionId) grant.subscriptionId = subscriptionId
    subscriptionId = grant.subscriptionId
    if (grant.terms.kind === 'quota') grant.terms.timeZone = share(grant.terms.timeZone)
    if (grant.terms.kind === 'value') grant.terms.value = share(grant.terms.value)
  }
  return { grants, usage, positions }
}

const nothing: readonly number[] = []

/** What decides one key. Periods of quotas are kept as long as they run: to work one out costs as much as a hundred checks. */
export const setOfKey = ({ grants, usage, positions }: HeldSet, key: string, nowMs: number): { grants: Grant[]; usage: Usage[] } => {
  const ofKey: Grant[] = []
  for (const at of positions.get(key) ?? nothing) {
    const grant = grants[at] as Grant
    if (grant.terms.kind === 'quota') grant.terms.window = quotaWindow(grant.terms, nowMs)
    ofKey.push(grant)
  }
  return { grants: ofKey, usage }
}
