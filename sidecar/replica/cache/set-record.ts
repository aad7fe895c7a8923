/**
 * An entitlement set as a record of bytes, and back: whole, or only what concerns one entitlement. Numbers lie where
 * they can be read in place; what many sets share is named by its id in the dictionary.
 *
 *     0   f64       revision
 *     8   f64       when the feed answered it, in epoch milliseconds
 *     16  u8        bits: 1 a sandbox's; 2 restored from a snapshot
 *     17  u8        holders: the subscriptions (and states of them) that grants come from
 *     18  u16       grants
 *     20  u16       usages
 *     22  u16       quotas among the grants
 *     24  holders   each f64 from, f64 until (NaN: none), f64 anchor, u8 inactive, u8 bytes of the id, the id, up to the next 8
 *         quotas    each f64 start and f64 end of the period that was last worked out (0: none)
 *         usages    each f64 used, f64 until (NaN: none), u32 key's id, 4 bytes of nothing
 *         grants    u32 template's id of each; then u32 key's id of each; then u8 holder of each; then u8 of each which
 *                   of the quotas it is, counted from 1 (0: none)
 */
import type { EntitlementSet, Grant, Terms, Usage } from '../../../common/entitlements/model.ts'
import { quotaWindow } from '../../../common/entitlements/quota-window.ts'
import type { ByteCacheReader } from './byte-cache.ts'
import type { Dictionary, DictionaryReader, Template } from './dictionary.ts'

const [SANDBOX, RESTORED] = [1, 2]
const HOLDERS_AT = 24
const WINDOW_BYTES = 16
const USAGE_BYTES = 24
const encoder = new TextEncoder()

interface Holder {
  subscription: Uint8Array
  fromMs: number
  untilMs: number
  anchorMs: number
  inactive: boolean
}

/** A set with everything looked up that writing it takes. It holds its uses of the dictionary. */
export interface PreparedSet {
  set: EntitlementSet
  readAtMs: number
  restored: boolean
  holders: Holder[]
  holderOf: number[]
  templates: Template[]
  usageKeys: number[]
  quotas: number
  bytes: number
}

const roundUp = (bytes: number): number => (bytes + 7) & ~7
const holderBytes = (idBytes: number): number => roundUp(26 + idBytes)
const anchorOf = (terms: Terms): number => (terms.kind === 'quota' ? terms.anchorMs : Number.NaN)

/** Undefined when the set is beyond what a record can hold; the dictionary is then as it was. */
export const prepareSet = (set: EntitlementSet, readAtMs: number, restored: boolean, dictionary: Dictionary): PreparedSet | undefined => {
  if (set.grants.length > 65_535 || set.usage.length > 65_535) return undefined
  const holders: Holder[] = []
  const holderIds: string[] = []
  const holderOf: number[] = []
  let quotas = 0
  for (const grant of set.grants) {
    const anchorMs = anchorOf(grant.terms)
    const untilMs = grant.untilMs ?? Number.NaN
    if (grant.terms.kind === 'quota') quotas += 1
    let at = holders.findIndex(
      (holder, n) =>
        holderIds[n] === grant.subscriptionId &&
        holder.fromMs === grant.fromMs &&
        Object.is(holder.untilMs, untilMs) &&
        holder.inactive === grant.inactive &&
        (Number.isNaN(anchorMs) || Number.isNaN(holder.anchorMs) || holder.anchorMs === anchorMs),
    )
    if (at < 0) {
      at = holders.push({ subscription: encoder.encode(grant.subscriptionId), fromMs: grant.fromMs, untilMs, anchorMs, inactive: grant.inactive }) - 1
      holderIds.push(grant.subscriptionId)
    }
    const holder = holders[at] as Holder
    if (Number.isNaN(holder.anchorMs)) holder.anchorMs = anchorMs
    holderOf.push(at)
  }
  if (quotas > 255 || holders.length > 255 || holders.some(({ subscription }) => subscription.length > 255)) return undefined
  const bytes =
    HOLDERS_AT +
    holders.reduce((sum, { subscription }) => sum + holderBytes(subscription.length), 0) +
    quotas * WINDOW_BYTES +
    set.usage.length * USAGE_BYTES +
    set.grants.length * 10
  const templates = set.grants.map((grant) => dictionary.useTemplate(grant))
  const usageKeys = set.usage.map(({ key }) => dictionary.useKey(key))
  return { set, readAtMs, restored, holders, holderOf, templates, usageKeys, quotas, bytes }
}

export const writeSet = ({ bytes, words, floats }: ByteCacheReader, at: number, prepared: PreparedSet): void => {
  const { set, holders, holderOf, templates, usageKeys, quotas } = prepared
  floats[at / 8] = set.revision
  floats[at / 8 + 1] = prepared.readAtMs
  bytes[at + 16] = (set.sandbox ? SANDBOX : 0) | (prepared.restored ? RESTORED : 0)
  bytes[at + 17] = holders.length
  bytes[at + 18] = set.grants.length & 255
  bytes[at + 19] = set.grants.length >>> 8
  bytes[at + 20] = set.usage.length & 255
  bytes[at + 21] = set.usage.length >>> 8
  bytes[at + 22] = quotas & 255
  bytes[at + 23] = quotas >>> 8
  let to = at + HOLDERS_AT
  for (const { fromMs, untilMs, anchorMs, inactive, subscription } of holders) {
    floats[to / 8] = fromMs
    floats[to / 8 + 1] = untilMs
    floats[to / 8 + 2] = anchorMs
    bytes[to + 24] = inactive ? 1 : 0
    bytes[to + 25] = subscription.length
    bytes.set(subscription, to + 26)
    to += holderBytes(subscription.length)
  }
  floats.fill(0, to / 8, to / 8 + 2 * quotas)
  to += quotas * WINDOW_BYTES
  for (const [n, { used, untilMs }] of set.usage.entries()) {
    floats[to / 8] = used
    floats[to / 8 + 1] = untilMs ?? Number.NaN
    words[(to + 16) >>> 2] = usageKeys[n] as number
    to += USAGE_BYTES
  }
  let quota = 0
  for (const [n, { id, keyId, terms }] of templates.entries()) {
    words[(to >>> 2) + n] = id
    words[(to >>> 2) + templates.length + n] = keyId
    bytes[to + 8 * templates.length + n] = holderOf[n] as number
    if (terms.kind === 'quota') quota += 1
    bytes[to + 9 * templates.length + n] = terms.kind === 'quota' ? quota : 0
  }
}

/** Where the parts of a record begin. One object, used again for each record that is looked at. */
class Layout {
  holders = 0
  grants = 0
  usages = 0
  quotas = 0
  windowsAt = 0
  usagesAt = 0
  grantsAt = 0

  read({ bytes }: ByteCacheReader, at: number): this {
    this.holders = bytes[at + 17] as number
    this.grants = (bytes[at + 18] as number) | ((bytes[at + 19] as number) << 8)
    this.usages = (bytes[at + 20] as number) | ((bytes[at + 21] as number) << 8)
    this.quotas = (bytes[at + 22] as number) | ((bytes[at + 23] as number) << 8)
    let to = at + HOLDERS_AT
    for (let n = 0; n < this.holders; n += 1) to += holderBytes(bytes[to + 25] as number)
    this.windowsAt = to
    this.usagesAt = to + this.quotas * WINDOW_BYTES
    this.grantsAt = this.usagesAt + this.usages * USAGE_BYTES
    return this
  }
}
const layout = new Layout()

export const releaseSet = (cache: ByteCacheReader, at: number, dictionary: Dictionary): void => {
  const { grants, usages, usagesAt, grantsAt } = layout.read(cache, at)
  for (let n = 0; n < usages; n += 1) dictionary.releaseKey(cache.words[(usagesAt + n * USAGE_BYTES + 16) >>> 2] as number)
  for (let n = 0; n < grants; n += 1) dictionary.releaseTemplate(cache.words[(grantsAt >>> 2) + n] as number)
}

const textAt = (bytes: Buffer, from: number, length: number): string => {
  const end = from + length
  for (let at = from; at < end; at += 1) {
    // Ids are nearly always ASCII; a decoder takes no memory that threads share, so it is given a copy.
    if ((bytes[at] as number) > 127) return new TextDecoder().decode(Uint8Array.prototype.slice.call(bytes, from, end))
  }
  return bytes.toString('latin1', from, end)
}

const grantOf = ({ bytes, floats }: ByteCacheReader, at: number, holder: number, template: Template): Grant => {
  let from = at + HOLDERS_AT
  for (let n = 0; n < holder; n += 1) from += holderBytes(bytes[from + 25] as number)
  const untilMs = floats[from / 8 + 1] as number
  const { key, bundleId, terms } = template
  return {
    key,
    subscriptionId: textAt(bytes, from + 26, bytes[from + 25] as number),
    bundleId,
    fromMs: floats[from / 8] as number,
    // Absent and undefined are the same to whoever decides; one shape of object is quicker.
    untilMs: Number.isNaN(untilMs) ? undefined : untilMs,
    inactive: bytes[from + 24] === 1,
    terms: terms.kind === 'quota' ? { ...terms, anchorMs: floats[from / 8 + 2] as number } : terms,
  } as Grant
}

const usageOf = ({ floats }: ByteCacheReader, at: number, key: string): Usage => {
  const untilMs = floats[at / 8 + 1] as number
  return { key, used: floats[at / 8] as number, ...(Number.isNaN(untilMs) ? {} : { untilMs }) }
}

export interface SetHeader {
  revision: number
  readAtMs: number
  sandbox: boolean
  restored: boolean
}

export const readHeader = ({ bytes, floats }: ByteCacheReader, at: number): SetHeader => ({
  revision: floats[at / 8] as number,
  readAtMs: floats[at / 8 + 1] as number,
  sandbox: ((bytes[at + 16] as number) & SANDBOX) !== 0,
  restored: ((bytes[at + 16] as number) & RESTORED) !== 0,
})

export const revisionOf = ({ floats }: ByteCacheReader, at: number): number => floats[at / 8] as number
export const readAtMsOf = ({ floats }: ByteCacheReader, at: number): number => floats[at / 8 + 1] as number
/** Neither a sandbox's nor restored: its time is now, and the feed has confirmed it. */
export const isPlainSet = ({ bytes }: ByteCacheReader, at: number): boolean => bytes[at + 16] === 0

export interface PartOfSet {
  grants: Grant[]
  usage: Usage[]
}

/**
 * What a set says of one entitlement; of all, without a key's id.
 * Undefined when the dictionary lacks something that the record names: a reader in another thread may be behind.
 */
export const readPart = (cache: ByteCacheReader, at: number, dictionary: DictionaryReader, keyId?: number): PartOfSet | undefined => {
  const { bytes, words, floats } = cache
  const { grants: count, usages, windowsAt, usagesAt, grantsAt } = layout.read(cache, at)
  const ids = grantsAt >>> 2
  const grants: Grant[] = []
  for (let n = 0; n < count; n += 1) {
    if (keyId !== undefined && words[ids + count + n] !== keyId) continue
    const template = dictionary.template(words[ids + n] as number)
    if (!template) return undefined
    const grant = grantOf(cache, at, bytes[grantsAt + 8 * count + n] as number, template)
    const quota = bytes[grantsAt + 9 * count + n] as number
    if (quota > 0 && grant.terms.kind === 'quota') {
      const window = (windowsAt + (quota - 1) * WINDOW_BYTES) / 8
      grant.terms.window = { startMs: floats[window] as number, endMs: floats[window + 1] as number }
    }
    grants.push(grant)
  }
  const usage: Usage[] = []
  for (let n = 0; n < usages; n += 1) {
    const from = usagesAt + n * USAGE_BYTES
    const id = words[(from + 16) >>> 2] as number
    if (keyId !== undefined && id !== keyId) continue
    const key = dictionary.key(id)
    if (key === undefined) return undefined
    usage.push(usageOf(cache, from, key))
  }
  return { grants, usage }
}

/** Works out the periods of the quotas that a set has of one entitlement, and keeps them in its record. Only for the writer. */
export const keepWindows = (cache: ByteCacheReader, at: number, keyId: number, { grants }: PartOfSet, nowMs: number): void => {
  const { grants: count, windowsAt, grantsAt } = layout.read(cache, at)
  let of = 0
  for (let n = 0; n < count; n += 1) {
    if (cache.words[(grantsAt >>> 2) + count + n] !== keyId) continue
    const terms = grants[of]?.terms
    of += 1
    if (terms?.kind !== 'quota' || !terms.window || (terms.window.startMs <= nowMs && nowMs < terms.window.endMs)) continue
    terms.window = quotaWindow(terms, nowMs)
    const window = (windowsAt + ((cache.bytes[grantsAt + 9 * count + n] as number) - 1) * WINDOW_BYTES) / 8
    cache.floats[window] = terms.window.startMs
    cache.floats[window + 1] = terms.window.endMs
  }
}
