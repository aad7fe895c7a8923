/**
 * An entitlement set as a record of bytes, and back: whole, or only what concerns one entitlement. Numbers lie where
 * they can be read in place; what many sets share is named by its id in the dictionary.
 *
 *     0   f64       revision
 *     8   f64       when the feed answered it, in epoch milliseconds
 *     16  u32       the shape's id: which grants, each with its holder and its quota
 *     20  u8        bits: 1 a sandbox's; 2 restored from a snapshot; 4 behind: a newer one is missing
 *     21  u8        holders: the subscriptions (and states of them) and grants by hand that the set's grants come from
 *     22  u8        quotas among the grants
 *     23  u8        usages
 *     24  f64       the count that the usages are of (0: it is not known)
 *     32  holders   each f64 from, f64 until (NaN: none), f64 anchor, u8 inactive, u8 bytes of the id, the id, up to the next 8
 *         quotas    each f64 start and f64 end of the period that was last worked out (0: none)
 *         usages    each f64 used, f64 until (NaN: none), u32 key's id, u32 its holder's number from 1 (0: none; the highest bit: a grant)
 */
import { type EntitlementSet, type Grant, type GrantTerms, sourceIdOf, type Usage } from '../../../common/entitlements/model.ts'
import { quotaWindow } from '../../../common/entitlements/quota-window.ts'
import type { ByteCacheReader } from './byte-cache.ts'
import type { Dictionary, DictionaryReader, Part, Shape } from './dictionary.ts'

const [SANDBOX, RESTORED, BEHIND] = [1, 2, 4]
const HOLDERS_AT = 32
const WINDOW_BYTES = 16
const USAGE_BYTES = 24
/** Counts are kept in a byte each. */
const MAX_COUNT = 255
/** More are not worth a shape of their own. */
const MAX_GRANTS = 1024
/** A usage whose subscription grants nothing in this set: it is taken from no other. */
const NOBODY = 0xffff_ffff
/** Set in the number of a usage's holder: it is a grant by hand. */
const OF_GRANT = 0x8000_0000
const encoder = new TextEncoder()

interface Holder {
  id: Uint8Array
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
  shape: Shape
  holders: Holder[]
  usageKeys: number[]
  usageHolders: number[]
  quotas: number
  bytes: number
}

const roundUp = (bytes: number): number => (bytes + 7) & ~7
const holderBytes = (idBytes: number): number => roundUp(26 + idBytes)
const anchorOf = (terms: GrantTerms): number => (terms.kind === 'quota' ? terms.anchorMs : Number.NaN)

/** Undefined when the set is beyond what a record can hold; the dictionary is then as it was. */
export const prepareSet = (set: EntitlementSet, readAtMs: number, restored: boolean, dictionary: Dictionary): PreparedSet | undefined => {
  if (set.grants.length > MAX_GRANTS || set.usage.length > MAX_COUNT) return undefined
  const holders: Holder[] = []
  const holderIds: string[] = []
  const parts: { grant: Grant; holder: number; quota: number }[] = []
  let quotas = 0
  for (const grant of set.grants) {
    const anchorMs = anchorOf(grant.terms)
    const untilMs = grant.untilMs ?? Number.NaN
    const isQuota = grant.terms.kind === 'quota'
    const sourceId = sourceIdOf(grant)
    if (isQuota) quotas += 1
    let at = holders.findIndex(
      (holder, n) =>
        holderIds[n] === sourceId &&
        holder.fromMs === grant.fromMs &&
        Object.is(holder.untilMs, untilMs) &&
        holder.inactive === grant.inactive &&
        (Number.isNaN(anchorMs) || Number.isNaN(holder.anchorMs) || holder.anchorMs === anchorMs),
    )
    if (at < 0) {
      at = holders.push({ id: encoder.encode(sourceId), fromMs: grant.fromMs, untilMs, anchorMs, inactive: grant.inactive }) - 1
      holderIds.push(sourceId)
    }
    const holder = holders[at] as Holder
    if (Number.isNaN(holder.anchorMs)) holder.anchorMs = anchorMs
    parts.push({ grant, holder: at, quota: isQuota ? quotas : 0 })
  }
  if (quotas > MAX_COUNT || holders.length > MAX_COUNT || holders.some(({ id }) => id.length > MAX_COUNT)) return undefined
  const bytes = HOLDERS_AT + holders.reduce((sum, { id }) => sum + holderBytes(id.length), 0) + quotas * WINDOW_BYTES + set.usage.length * USAGE_BYTES
  const shape = dictionary.useShape(parts)
  const usageKeys = set.usage.map(({ key }) => dictionary.useKey(key))
  const usageHolders = set.usage.map(({ subscriptionId, sourceId }) => {
    if (sourceId === undefined && subscriptionId === undefined) return 0
    const holder = holderIds.indexOf(sourceId ?? subscriptionId ?? '') + 1
    return holder === 0 ? NOBODY : sourceId === undefined ? holder : holder + OF_GRANT
  })
  return { set, readAtMs, restored, shape, holders, usageKeys, usageHolders, quotas, bytes }
}

/** Writes the record at `at`, a multiple of 8, where `prepared.bytes` are free. */
export const writeSet = ({ bytes, words, floats }: ByteCacheReader, at: number, prepared: PreparedSet): void => {
  const { set, shape, holders, usageKeys, usageHolders, quotas } = prepared
  floats[at / 8] = set.revision
  floats[at / 8 + 1] = prepared.readAtMs
  words[(at + 16) >>> 2] = shape.id
  bytes[at + 20] = (set.sandbox ? SANDBOX : 0) | (prepared.restored ? RESTORED : 0)
  bytes[at + 21] = holders.length
  bytes[at + 22] = quotas
  bytes[at + 23] = set.usage.length
  floats[at / 8 + 3] = set.usageSeq ?? 0
  let to = at + HOLDERS_AT
  for (const { fromMs, untilMs, anchorMs, inactive, id } of holders) {
    floats[to / 8] = fromMs
    floats[to / 8 + 1] = untilMs
    floats[to / 8 + 2] = anchorMs
    bytes[to + 24] = inactive ? 1 : 0
    bytes[to + 25] = id.length
    bytes.set(id, to + 26)
    to += holderBytes(id.length)
  }
  floats.fill(0, to / 8, to / 8 + 2 * quotas)
  to += quotas * WINDOW_BYTES
  for (const [n, { used, untilMs }] of set.usage.entries()) {
    floats[to / 8] = used
    floats[to / 8 + 1] = untilMs ?? Number.NaN
    words[(to + 16) >>> 2] = usageKeys[n] as number
    words[(to + 20) >>> 2] = usageHolders[n] as number
    to += USAGE_BYTES
  }
}

/** Marks the record: from now on it says nothing newer than that. Only for the writer. @param restored whether it is still a snapshot's word alone. */
export const markBehind = ({ bytes, floats }: ByteCacheReader, at: number, asOfMs: number, restored: boolean): void => {
  floats[at / 8 + 1] = asOfMs
  bytes[at + 20] = ((bytes[at + 20] as number) & SANDBOX) | BEHIND | (restored ? RESTORED : 0)
}

/** The offsets at which the parts of a record begin. One object, used again for each record that is looked at. */
class Layout {
  usages = 0
  windowsAt = 0
  usagesAt = 0

  read({ bytes }: ByteCacheReader, at: number): this {
    const holders = bytes[at + 21] as number
    let to = at + HOLDERS_AT
    for (let n = 0; n < holders; n += 1) to += holderBytes(bytes[to + 25] as number)
    this.windowsAt = to
    this.usagesAt = to + (bytes[at + 22] as number) * WINDOW_BYTES
    this.usages = bytes[at + 23] as number
    return this
  }
}
const layout = new Layout()

const shapeIdOf = ({ words }: ByteCacheReader, at: number): number => words[(at + 16) >>> 2] as number

/** Gives back what the record uses of the dictionary. To be called once, before the record is overwritten. */
export const releaseSet = (cache: ByteCacheReader, at: number, dictionary: Dictionary): void => {
  const { usages, usagesAt } = layout.read(cache, at)
  for (let n = 0; n < usages; n += 1) dictionary.releaseKey(cache.words[(usagesAt + n * USAGE_BYTES + 16) >>> 2] as number)
  dictionary.releaseShape(shapeIdOf(cache, at))
}

const textAt = (bytes: Buffer, from: number, length: number): string => {
  const end = from + length
  for (let at = from; at < end; at += 1) {
    // Ids are nearly always ASCII; a decoder takes no memory that threads share, so it is given a copy.
    if ((bytes[at] as number) > 127) return new TextDecoder().decode(Uint8Array.prototype.slice.call(bytes, from, end))
  }
  return bytes.toString('latin1', from, end)
}

/** The holder's id that was read last: a batch often asks about one customer. */
const last: { cache: ByteCacheReader | undefined; version: number; from: number; id: string } = { cache: undefined, version: 0, from: 0, id: '' }

const idAt = (cache: ByteCacheReader, from: number): string => {
  const version = cache.version()
  if (last.from === from && last.version === version && last.cache === cache) return last.id
  last.id = textAt(cache.bytes, from + 26, cache.bytes[from + 25] as number)
  last.cache = cache
  last.version = version
  last.from = from
  return last.id
}

const holderAt = ({ bytes }: ByteCacheReader, at: number, holder: number): number => {
  let from = at + HOLDERS_AT
  for (let n = 0; n < holder; n += 1) from += holderBytes(bytes[from + 25] as number)
  return from
}

const grantOf = (cache: ByteCacheReader, at: number, windowsAt: number, { template, holder, quota }: Part): Grant => {
  const { bytes, floats } = cache
  const from = holderAt(cache, at, holder)
  const untilMs = floats[from / 8 + 1] as number
  const { key, bundleId, source, mode, deniedKind, terms } = template
  const id = idAt(cache, from)
  return {
    key,
    subscriptionId: source ? '' : id,
    bundleId,
    source: source ? { type: source, id } : undefined,
    mode,
    deniedKind,
    fromMs: floats[from / 8] as number,
    // Absent and undefined are the same to whoever decides; one shape of object is quicker.
    untilMs: Number.isNaN(untilMs) ? undefined : untilMs,
    inactive: bytes[from + 24] === 1,
    terms: terms.kind === 'quota' ? { ...terms, anchorMs: floats[from / 8 + 2] as number, window: windowAt(floats, windowsAt, quota) } : terms,
  }
}

const windowAt = (floats: Float64Array, windowsAt: number, quota: number): { startMs: number; endMs: number } => {
  const at = (windowsAt + (quota - 1) * WINDOW_BYTES) / 8
  return { startMs: floats[at] as number, endMs: floats[at + 1] as number }
}

const usageOf = (cache: ByteCacheReader, at: number, from: number, key: string): Usage => {
  const untilMs = cache.floats[from / 8 + 1] as number
  const holder = cache.words[(from + 20) >>> 2] as number
  return {
    key,
    used: cache.floats[from / 8] as number,
    ...(Number.isNaN(untilMs) ? {} : { untilMs }),
    ...usageHolderOf(cache, at, holder),
  }
}

const usageHolderOf = (cache: ByteCacheReader, at: number, holder: number): Pick<Usage, 'subscriptionId' | 'sourceId'> => {
  if (holder === 0) return {}
  if (holder === NOBODY) return { subscriptionId: '' }
  if (holder < OF_GRANT) return { subscriptionId: idAt(cache, holderAt(cache, at, holder - 1)) }
  return { subscriptionId: '', sourceId: idAt(cache, holderAt(cache, at, holder - OF_GRANT - 1)) }
}

export interface SetHeader {
  revision: number
  usageSeq: number
  readAtMs: number
  sandbox: boolean
  restored: boolean
  behind: boolean
}

export const readHeader = ({ bytes, floats }: ByteCacheReader, at: number): SetHeader => ({
  revision: floats[at / 8] as number,
  usageSeq: floats[at / 8 + 3] as number,
  readAtMs: floats[at / 8 + 1] as number,
  sandbox: ((bytes[at + 20] as number) & SANDBOX) !== 0,
  restored: ((bytes[at + 20] as number) & RESTORED) !== 0,
  behind: ((bytes[at + 20] as number) & BEHIND) !== 0,
})

export const revisionOf = ({ floats }: ByteCacheReader, at: number): number => floats[at / 8] as number
export const usageSeqOf = ({ floats }: ByteCacheReader, at: number): number => floats[at / 8 + 3] as number
export const readAtMsOf = ({ floats }: ByteCacheReader, at: number): number => floats[at / 8 + 1] as number
/** Neither a sandbox's, nor restored, nor behind: its time is now, and the feed has confirmed it. */
export const isPlainSet = ({ bytes }: ByteCacheReader, at: number): boolean => bytes[at + 20] === 0

export interface PartOfSet {
  grants: Grant[]
  usage: Usage[]
}

const none: readonly Part[] = []

/**
 * The part of a set about one entitlement; all of it, without a key's id. Undefined when the dictionary lacks something that
 * the record names: a reader in another thread may be behind.
 */
export const readPart = (cache: ByteCacheReader, at: number, dictionary: DictionaryReader, keyId?: number): PartOfSet | undefined => {
  const shape = dictionary.shape(shapeIdOf(cache, at))
  if (!shape) return undefined
  const { usages, windowsAt, usagesAt } = layout.read(cache, at)
  const parts = keyId === undefined ? shape.parts : (shape.byKey.get(keyId) ?? none)
  const grants: Grant[] = []
  for (let n = 0; n < parts.length; n += 1) grants.push(grantOf(cache, at, windowsAt, parts[n] as Part))
  const usage: Usage[] = []
  for (let n = 0; n < usages; n += 1) {
    const from = usagesAt + n * USAGE_BYTES
    const id = cache.words[(from + 16) >>> 2] as number
    if (keyId !== undefined && id !== keyId) continue
    const key = dictionary.key(id)
    if (key === undefined) return undefined
    usage.push(usageOf(cache, at, from, key))
  }
  return { grants, usage }
}

/** Works out the periods of the quotas that a set has of one entitlement, and keeps them in its record. Only for the writer. */
export const keepWindows = (cache: ByteCacheReader, at: number, dictionary: DictionaryReader, keyId: number, { grants }: PartOfSet, nowMs: number): void => {
  const { floats } = cache
  for (let n = 0; n < grants.length; n += 1) {
    const { terms } = grants[n] as Grant
    if (terms.kind !== 'quota' || !terms.window || (terms.window.startMs <= nowMs && nowMs < terms.window.endMs)) continue
    terms.window = quotaWindow(terms, nowMs)
    const part = dictionary.shape(shapeIdOf(cache, at))?.byKey.get(keyId)?.[n]
    if (!part) return
    const window = (layout.read(cache, at).windowsAt + (part.quota - 1) * WINDOW_BYTES) / 8
    floats[window] = terms.window.startMs
    floats[window + 1] = terms.window.endMs
  }
}
