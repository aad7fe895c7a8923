/**
 * What grants of many customers have in common, kept once: the entitlement's key, its bundle, and its terms but for the
 * subscription's own anchor. Counted, so that what no record uses any more is let go. Ids are never given twice.
 */
import type { Grant, Terms } from '../../../common/entitlements/model.ts'

/** A grant without what is the subscription's own. A quota's `anchorMs` is 0 here. */
export interface Template {
  id: number
  keyId: number
  key: string
  bundleId: string
  terms: Terms
}

/** What a reader in another thread knows too. */
/** What readers in other threads have to be told. */
export type DictionaryChange =
  | { kind: 'key'; id: number; key: string }
  | { kind: 'template'; template: Template }
  | { kind: 'key gone'; id: number }
  | { kind: 'template gone'; id: number }

export interface DictionaryReader {
  /** Whether what it does not have is not there. */
  readonly isWhole: boolean
  keyId(key: string): number | undefined
  key(id: number): string | undefined
  template(id: number): Template | undefined
}

interface Counted<T> {
  value: T
  uses: number
}

const fingerprint = ({ key, bundleId, terms }: Grant): string => {
  switch (terms.kind) {
    case 'flag':
      return JSON.stringify([key, bundleId, 0, terms.enabled])
    case 'quota':
      return JSON.stringify([key, bundleId, 1, terms.limit, terms.per, terms.timeZone])
    case 'capacity':
      return JSON.stringify([key, bundleId, 2, terms.limit])
    case 'value':
      return JSON.stringify([key, bundleId, 3, terms.value])
    default:
      return terms satisfies never
  }
}

export class Dictionary implements DictionaryReader {
  readonly isWhole = true
  #tell: (change: DictionaryChange) => void = () => undefined
  readonly #templates = new Map<number, Counted<Template>>()
  readonly #byFingerprint = new Map<string, Counted<Template>>()
  readonly #keys = new Map<number, Counted<string>>()
  readonly #keyIds = new Map<string, number>()
  #lastId = 0

  get size(): number {
    return this.#templates.size
  }

  /** Everything there is now, and from then on every change. */
  follow(tell: (change: DictionaryChange) => void): void {
    for (const [id, { value }] of this.#keys) tell({ kind: 'key', id, key: value })
    for (const { value } of this.#templates.values()) tell({ kind: 'template', template: value })
    const before = this.#tell
    this.#tell = (change) => {
      before(change)
      tell(change)
    }
  }

  keyId(key: string): number | undefined {
    return this.#keyIds.get(key)
  }

  key(id: number): string | undefined {
    return this.#keys.get(id)?.value
  }

  template(id: number): Template | undefined {
    return this.#templates.get(id)?.value
  }

  useKey(key: string): number {
    const known = this.#keyIds.get(key)
    if (known !== undefined) {
      ;(this.#keys.get(known) as Counted<string>).uses += 1
      return known
    }
    this.#lastId += 1
    this.#keyIds.set(key, this.#lastId)
    this.#keys.set(this.#lastId, { value: key, uses: 1 })
    this.#tell({ kind: 'key', id: this.#lastId, key })
    return this.#lastId
  }

  releaseKey(id: number): void {
    const counted = this.#keys.get(id)
    if (!counted) return
    counted.uses -= 1
    if (counted.uses > 0) return
    this.#keys.delete(id)
    this.#keyIds.delete(counted.value)
    this.#tell({ kind: 'key gone', id })
  }

  useTemplate(grant: Grant): Template {
    const print = fingerprint(grant)
    const known = this.#byFingerprint.get(print)
    if (known) {
      known.uses += 1
      return known.value
    }
    const keyId = this.useKey(grant.key)
    this.#lastId += 1
    const terms = grant.terms.kind === 'quota' ? { ...grant.terms, anchorMs: 0 } : grant.terms
    const counted = { value: { id: this.#lastId, keyId, key: grant.key, bundleId: grant.bundleId, terms }, uses: 1 }
    this.#templates.set(this.#lastId, counted)
    this.#byFingerprint.set(print, counted)
    this.#tell({ kind: 'template', template: counted.value })
    return counted.value
  }

  releaseTemplate(id: number): void {
    const counted = this.#templates.get(id)
    if (!counted) return
    counted.uses -= 1
    if (counted.uses > 0) return
    const { key, bundleId, terms, keyId } = counted.value
    this.#templates.delete(id)
    this.#tell({ kind: 'template gone', id })
    this.#byFingerprint.delete(fingerprint({ key, bundleId, terms } as Grant))
    this.releaseKey(keyId)
  }
}

/** Of a reader in another thread, as it was told; it may be behind. */
export class DictionaryMirror implements DictionaryReader {
  readonly isWhole = false
  readonly #templates = new Map<number, Template>()
  readonly #keys = new Map<number, string>()
  readonly #keyIds = new Map<string, number>()

  apply(change: DictionaryChange): void {
    switch (change.kind) {
      case 'key':
        this.#keys.set(change.id, change.key)
        this.#keyIds.set(change.key, change.id)
        return
      case 'template':
        this.#templates.set(change.template.id, change.template)
        return
      case 'template gone':
        this.#templates.delete(change.id)
        return
      case 'key gone': {
        const key = this.#keys.get(change.id)
        this.#keys.delete(change.id)
        if (key !== undefined && this.#keyIds.get(key) === change.id) this.#keyIds.delete(key)
        return
      }
      default:
        change satisfies never
    }
  }

  keyId(key: string): number | undefined {
    return this.#keyIds.get(key)
  }

  key(id: number): string | undefined {
    return this.#keys.get(id)
  }

  template(id: number): Template | undefined {
    return this.#templates.get(id)
  }
}
