/** Ids of streams that ended lately: what still comes for them is late, and what comes for others is wrong (RFC 9113, section 5.1). */

/** More than a peer has under way before it hears that a stream has ended. */
const REMEMBERED = 256

class Ring {
  readonly #ids = new Int32Array(REMEMBERED)
  #at = 0

  add(id: number): void {
    this.#ids[this.#at] = id
    this.#at = (this.#at + 1) % REMEMBERED
  }

  has(id: number): boolean {
    return this.#ids.includes(id)
  }
}

export class EndedStreams {
  /** Streams whose peer had said that it sends no more. */
  readonly #byPeer = new Ring()
  /** Streams whose peer had not: what it sent before it heard of that is read over. */
  readonly #byUs = new Ring()

  add(streamId: number, byPeer: boolean): void {
    if (byPeer) this.#byPeer.add(streamId)
    else if (!this.#byUs.has(streamId)) this.#byUs.add(streamId)
  }

  hasByPeer(streamId: number): boolean {
    return this.#byPeer.has(streamId)
  }

  hasByUs(streamId: number): boolean {
    return this.#byUs.has(streamId)
  }
}
