/**
 * What sets of many customers have in common, kept once. A template is a grant without what is its source's own:
 * the entitlement's key, its bundle, how it counts, and its terms but for the anchor. A shape is the list of a set's templates, as all
 * customers of one bundle have it. Both are counted, so that what no record uses any more is let go. An id is given again
 * only after four thousand million others.
 */
import type { Grant, GrantSource, GrantTerms } from '../../../common/entitlements/model.ts'

/** A grant without what is its source's own. A quota's `anchorMs` is 0 here. */
export interface Template extends Pick<Grant, 'key' | 'bundleId' | 'mode' | 'deniedKind'> {
  id: number
  keyId: number
  key: string
  bundleId: string
  /** Undefined: a subscription. */
  source: GrantSource['type'] | undefined
  terms: GrantTerms
}

/** One grant of a shape. */
export interface Part {
  template: Template
  /** Which of the set's sources it comes from, counted from 0. */
  holder: number
  /** The number, from 1, of the set's quota that it is; 0 when it is none. */
  quota: number
}

export interface Shape {
  id: number
  /** The parts in the order of the set's grants. */
  parts: readonly Part[]
  byKey: ReadonlyMap<number, readonly Part[]>
}

/** A change that readers in other threads have to be told. */
export type DictionaryChange =
  | { kind: 'key'; id: number; key: string }
  | { kind: 'template'; template: Template }
  | { kind: 'shape'; id: number; parts: readonly { templateId: number; holder: number; quota: number }[] }
  | { kind: 'key gone' | 'template gone' | 'shape gone'; id: number }

export interface DictionaryReader {
  /** True if anything that it lacks does not exist. */
  readonly isWhole: boolean
  keyId(key: string): number | undefined
  key(id: number): string | undefined
  shape(id: number): Shape | undefined
}

interface Counted<T> {
  value: T
  uses: number
}

/** Roughly what they take as objects, in bytes. */
const TEMPLATE_BYTES = 500
const SHAPE_BYTES = 300
const PART_BYTES = 150
const MAX_ID = 0xffffffff

const shapeOf = (id: number, parts: readonly Part[]): Shape => {
  const byKey = new Map<number, Part[]>()
  for (const part of parts) {
    const ofKey = byKey.get(part.template.keyId)
    if (ofKey) ofKey.push(part)
    else byKey.set(part.template.keyId, [part])
  }
  return { id, parts, byKey }
}

const printOfParts = (parts: readonly Part[]): string => {
  let print = ''
  for (const { template, holder, quota } of parts) print += `${template.id},${holder},${quota};`
  return print
}

/** Its texts are kept twice, of two bytes a character at most: in it and in its fingerprint. */
const templateBytes = (print: string): number => TEMPLATE_BYTES + 4 * print.length
const shapeBytes = (parts: readonly Part[]): number => SHAPE_BYTES + PART_BYTES * parts.length

const fingerprint = ({ key, bundleId, source, mode, deniedKind, terms }: Omit<Template, 'id' | 'keyId'>): string => {
  const how = source ? [source, mode ?? null, deniedKind ?? null] : []
  switch (terms.kind) {
    case 'flag':
      return JSON.stringify([key, bundleId, 0, terms.enabled, ...how])
    case 'quota':
      return JSON.stringify([key, bundleId, 1, terms.limit, terms.per, terms.timeZone, terms.overage, ...how])
    case 'capacity':
      return JSON.stringify([key, bundleId, 2, terms.limit, terms.overage, ...how])
    case 'value':
      return JSON.stringify([key, bundleId, 3, terms.value, ...how])
    default:
      return terms satisfies never
  }
}

export class Dictionary implements DictionaryReader {
  readonly isWhole = true
  #tell: (change: DictionaryChange) => void = () => undefined
  readonly #shapes = new Map<number, Counted<Shape>>()
  readonly #shapesByPrint = new Map<string, Counted<Shape>>()
  readonly #templates = new Map<number, Counted<Template>>()
  readonly #templatesByPrint = new Map<string, Counted<Template>>()
  readonly #keys = new Map<number, Counted<string>>()
  readonly #keyIds = new Map<string, number>()
  #lastId = 0
  #bytes = 0

  /** Templates. */
  get size(): number {
    return this.#templates.size
  }

  /** The memory that it takes, roughly. */
  get bytes(): number {
    return this.#bytes
  }

  /** Everything there is now, and from then on every change. */
  follow(tell: (change: DictionaryChange) => void): void {
    for (const [id, { value }] of this.#keys) tell({ kind: 'key', id, key: value })
    for (const { value } of this.#templates.values()) tell({ kind: 'template', template: value })
    for (const { value } of this.#shapes.values()) tell(toldOf(value))
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

  shape(id: number): Shape | undefined {
    return this.#shapes.get(id)?.value
  }

  useKey(key: string): number {
    const known = this.#keyIds.get(key)
    if (known !== undefined) {
      ;(this.#keys.get(known) as Counted<string>).uses += 1
      return known
    }
    const id = this.#newId()
    this.#keyIds.set(key, id)
    this.#keys.set(id, { value: key, uses: 1 })
    this.#tell({ kind: 'key', id, key })
    return id
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

  /** @param parts the grants of a set, each with its holder and quota. */
  useShape(parts: readonly { grant: Grant; holder: number; quota: number }[]): Shape {
    const used = parts.map(({ grant, holder, quota }): Part => ({ template: this.#useTemplate(grant), holder, quota }))
    const print = printOfParts(used)
    const known = this.#shapesByPrint.get(print)
    if (known) {
      known.uses += 1
      // It has its templates already.
      for (const { template } of used) this.#releaseTemplate(template.id)
      return known.value
    }
    const shape = shapeOf(this.#newId(), used)
    const counted = { value: shape, uses: 1 }
    this.#shapes.set(shape.id, counted)
    this.#shapesByPrint.set(print, counted)
    this.#bytes += shapeBytes(used)
    this.#tell(toldOf(shape))
    return shape
  }

  releaseShape(id: number): void {
    const counted = this.#shapes.get(id)
    if (!counted) return
    counted.uses -= 1
    if (counted.uses > 0) return
    const { parts } = counted.value
    this.#shapes.delete(id)
    this.#shapesByPrint.delete(printOfParts(parts))
    this.#bytes -= shapeBytes(parts)
    this.#tell({ kind: 'shape gone', id })
    for (const { template } of parts) this.#releaseTemplate(template.id)
  }

  #useTemplate({ key, bundleId, source, mode, deniedKind, terms }: Grant): Template {
    const content = { key, bundleId, source: source?.type, mode, deniedKind, terms: terms.kind === 'quota' ? { ...terms, anchorMs: 0 } : terms }
    const print = fingerprint(content)
    const known = this.#templatesByPrint.get(print)
    if (known) {
      known.uses += 1
      return known.value
    }
    const keyId = this.useKey(key)
    const counted = { value: { id: this.#newId(), keyId, ...content }, uses: 1 }
    this.#templates.set(counted.value.id, counted)
    this.#templatesByPrint.set(print, counted)
    this.#bytes += templateBytes(print)
    this.#tell({ kind: 'template', template: counted.value })
    return counted.value
  }

  #releaseTemplate(id: number): void {
    const counted = this.#templates.get(id)
    if (!counted) return
    counted.uses -= 1
    if (counted.uses > 0) return
    const { keyId } = counted.value
    const print = fingerprint(counted.value)
    this.#templates.delete(id)
    this.#templatesByPrint.delete(print)
    this.#bytes -= templateBytes(print)
    this.#tell({ kind: 'template gone', id })
    this.releaseKey(keyId)
  }

  #newId(): number {
    do this.#lastId = (this.#lastId % MAX_ID) + 1
    while (this.#keys.has(this.#lastId) || this.#templates.has(this.#lastId) || this.#shapes.has(this.#lastId))
    return this.#lastId
  }
}

const toldOf = ({ id, parts }: Shape): DictionaryChange => ({
  kind: 'shape',
  id,
  parts: parts.map(({ template, holder, quota }) => ({ templateId: template.id, holder, quota })),
})

/** A reader's copy in another thread, as it was told; it may be behind. */
export class DictionaryMirror implements DictionaryReader {
  readonly isWhole = false
  readonly #shapes = new Map<number, Shape>()
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
      case 'shape':
        this.#shapes.set(
          change.id,
          // A template is told before the shapes that have it.
          shapeOf(
            change.id,
            change.parts.map(({ templateId, holder, quota }) => ({ template: this.#templates.get(templateId) as Template, holder, quota })),
          ),
        )
        return
      case 'shape gone':
        this.#shapes.delete(change.id)
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

  shape(id: number): Shape | undefined {
    return this.#shapes.get(id)
  }
}
