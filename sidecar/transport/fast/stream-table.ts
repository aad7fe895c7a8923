/**
 * The streams of a connection that are open, by their ids. Ids grow by two, and nearly all streams are short: a row of
 * places, one for each of the last few ids, holds them without making anything; what finds its place taken by an older
 * stream goes into a map. (A map alone makes itself anew every so often, where only a full garbage collection finds it.)
 */
import type { Stream } from './stream.ts'

const PLACES = 128

export class StreamTable {
  readonly #places: (Stream | undefined)[] = Array.from({ length: PLACES }, () => undefined)
  readonly #others = new Map<number, Stream>()
  #size = 0

  get size(): number {
    return this.#size
  }

  get(id: number): Stream | undefined {
    const stream = this.#places[(id >>> 1) % PLACES]
    return stream?.id === id ? stream : this.#others.size === 0 ? undefined : this.#others.get(id)
  }

  /** Adds a stream whose id is not there. */
  add(stream: Stream): void {
    const place = (stream.id >>> 1) % PLACES
    if (this.#places[place] === undefined) this.#places[place] = stream
    else this.#others.set(stream.id, stream)
    this.#size += 1
  }

  delete(stream: Stream): void {
    const place = (stream.id >>> 1) % PLACES
    if (this.#places[place] === stream) this.#places[place] = undefined
    else if (!this.#others.delete(stream.id)) return
    this.#size -= 1
  }

  clear(): void {
    this.#places.fill(undefined)
    this.#others.clear()
    this.#size = 0
  }

  /** All there are: they may be deleted meanwhile. */
  values(): Stream[] {
    if (this.#size === 0) return []
    return [...this.#places.filter((stream) => stream !== undefined), ...this.#others.values()]
  }
}
