/**
 * Uses that are counted together: those of one customer and entitlement that come within a moment are one call. If there is not
 * enough for all of them, each is asked for by itself, so that nobody is refused while there is enough for him.
 */
import type { Consumed, Decided } from './answer.ts'
import type { CallOptions } from './call-options.ts'
import type { Counting } from './counting.ts'
import { TollgateError } from './errors.ts'
import { checkCount, checkUse } from './question.ts'
import type { Use } from './tollgate.ts'

/** If there is not enough for all, so many calls follow one another within one deadline. */
const MOST_USES = 1_000

interface Waiting {
  use: Use
  signal: AbortSignal | undefined
  resolve(answer: Decided & Consumed): void
  reject(error: unknown): void
}

export interface Batches {
  /** @throws TollgateError, `invalid_request` for a use that is not like others: with a key, a holder or a time; the signal's reason. */
  consume(use: Use, batchMs: number, options: { timeoutMs: number; signal: CallOptions['signal'] }): Promise<Decided & Consumed>
}

const ownField = ['idempotencyKey', 'holder', 'ttlMs'] as const

export const createBatches = (counting: Pick<Counting, 'consume'>): Batches => {
  /** By what the uses of a batch have in common. */
  const open = new Map<string, { waiting: Waiting[]; total: number; send(): void }>()

  /** @param untilMs of the clock that only goes forward. */
  const send = async (all: readonly Waiting[], untilMs: number): Promise<void> => {
    // Who has left meanwhile is not counted.
    const waiting = all.filter(({ signal }) => !signal?.aborted)
    const [first] = waiting
    if (!first) return
    const left = () => ({ timeoutMs: Math.max(1, untilMs - performance.now()) })
    const amount = waiting.reduce((sum, { use }) => sum + (use.amount ?? 1), 0)
    try {
      const answer = await counting.consume({ ...first.use, amount }, left())
      if (waiting.length === 1 || answer.reason !== 'limit_exceeded') {
        for (const { resolve } of waiting) resolve(answer)
        return
      }
    } catch (error) {
      for (const { reject } of waiting) reject(error)
      return
    }
    for (const { use, signal, resolve, reject } of waiting) {
      if (!signal?.aborted) await counting.consume(use, left()).then(resolve, reject)
    }
  }

  const add = (one: Waiting, batchMs: number, timeoutMs: number): void => {
    const { customer, entitlement, minRevision, amount = 1 } = one.use
    const key = JSON.stringify([customer, entitlement, minRevision, batchMs, timeoutMs])
    const before = open.get(key)
    if (before && (before.waiting.length === MOST_USES || before.total + amount > Number.MAX_SAFE_INTEGER)) before.send()
    const batch = open.get(key)
    if (batch) {
      batch.waiting.push(one)
      batch.total += amount
      return
    }
    const waiting = [one]
    const untilMs = performance.now() + timeoutMs
    const sendNow = () => {
      clearTimeout(timer)
      open.delete(key)
      void send(waiting, untilMs)
    }
    const timer = setTimeout(sendNow, batchMs)
    open.set(key, { waiting, total: amount, send: sendNow })
  }

  return {
    consume: (use, batchMs, { timeoutMs, signal }) =>
      new Promise((resolve, reject) => {
        checkUse(use)
        const own = ownField.find((field) => use[field] !== undefined)
        if (own) throw new TollgateError('invalid_request', `${own}: must not be given together with batchMs`)
        if (checkCount('batchMs', batchMs) >= timeoutMs) throw new TollgateError('invalid_request', 'batchMs: must be less than timeoutMs')
        signal?.throwIfAborted()
        const abort = () => reject(signal?.reason)
        signal?.addEventListener('abort', abort, { once: true })
        const done =
          <Value>(act: (value: Value) => void) =>
          (value: Value) => {
            signal?.removeEventListener('abort', abort)
            act(value)
          }
        // 0 asks for 1, as it does at the sidecar.
        add({ use: { ...use, amount: use.amount || 1 }, signal, resolve: done(resolve), reject: done(reject) }, batchMs, timeoutMs)
      }),
  }
}
