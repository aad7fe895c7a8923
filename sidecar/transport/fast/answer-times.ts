/**
 * The times that answers took, each under the path of its method. Answers to what one read brought leave together: they are
 * gathered while it lasts, and take as long as it did, so that no clock is looked at for each of them.
 */
import type { TransportOptions } from '../transport.ts'
import type { Method } from './methods.ts'

export class AnswerTimes {
  readonly #onAnswered: NonNullable<TransportOptions['onAnswered']>
  /** Methods that have answered in the read under way. */
  readonly #answered: Method[] = []
  #readFrom = 0

  constructor(onAnswered: NonNullable<TransportOptions['onAnswered']>) {
    this.#onAnswered = onAnswered
  }

  /** @param requestedAt by `performance.now()`, when the last byte of the request had come; undefined: in the read under way. */
  add(method: Method, requestedAt: number | undefined): void {
    if (requestedAt !== undefined) {
      this.#onAnswered(method.definition.path, 1, (performance.now() - requestedAt) / 1000)
      return
    }
    if (method.answeredInRead === 0) this.#answered.push(method)
    method.answeredInRead += 1
  }

  beginRead(): void {
    this.#readFrom = performance.now()
  }

  /** To be called when the answers have left. */
  endRead(): void {
    if (this.#answered.length === 0) return
    const seconds = (performance.now() - this.#readFrom) / 1000
    for (const method of this.#answered) {
      this.#onAnswered(method.definition.path, method.answeredInRead, seconds)
      method.answeredInRead = 0
    }
    this.#answered.length = 0
  }
}
