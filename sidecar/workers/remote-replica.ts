/**
 * A replica as a worker has it: what is held is read from the memory that all threads share, everything else is asked of
 * the thread that holds the feed.
 */
import type { MessagePort } from 'node:worker_threads'
import type { Clock } from '../../common/clock.ts'
import type { CustomerKey, EntitlementSet } from '../../common/entitlements/model.ts'
import { AppError } from '../../common/errors.ts'
import type { Faults } from '../../common/faults.ts'
import { setKey } from '../../common/feed/keys.ts'
import { ByteCacheReader } from '../replica/cache/byte-cache.ts'
import { DictionaryMirror } from '../replica/cache/dictionary.ts'
import { SetReader } from '../replica/cache/set-reader.ts'
import type { Known, Replica } from '../replica/known.ts'
import { type Answer, DOUBTFUL, LIVE, type Question, type ToMain, type ToWorker, type WorkerStart } from './messages.ts'

export interface RemoteReplica extends Replica {
  /** Asks the main thread. @throws AppError as it does; the signal's own reason when it aborts. */
  ask(question: Question, signal?: AbortSignal): Promise<Answer>
  hear(message: ToWorker): void
}

export const createRemoteReplica = ({ memory, asOf, live }: WorkerStart, port: MessagePort, clock: Clock, faults: Faults): RemoteReplica => {
  const dictionary = new DictionaryMirror()
  const cache = new SetReader(new ByteCacheReader(memory), dictionary)
  const asOfMs = new Float64Array(asOf)
  const isLive = new Int32Array(live)
  const waiting = new Map<number, { resolve: (answer: Answer) => void; reject: (error: Error) => void }>()
  const listeners = new Map<string, Set<() => void>>()
  const anyListeners = new Set<(set: EntitlementSet) => void>()
  let lastId = 0
  let hits = 0
  const say = (message: ToMain) => port.postMessage(message)

  const ask = (question: Question, signal?: AbortSignal): Promise<Answer> =>
    new Promise((resolve, reject) => {
      lastId += 1
      const id = lastId
      waiting.set(id, { resolve, reject })
      say({ kind: 'ask', id, question })
      signal?.addEventListener('abort', () => {
        if (!waiting.delete(id)) return
        say({ kind: 'forget', id })
        reject(signal.reason)
      })
    })

  /** The age is read before the set: the thread that holds the feed may replace the set, and then move the age on. */
  const held = (customer: CustomerKey): Known | undefined => {
    const beforeMs = asOfMs[0] as number
    const known: Known | undefined = cache.get(customer)
    if (known) known.asOfMs = known.restored || known.behind ? known.readAtMs : Math.max(known.readAtMs, beforeMs)
    return known
  }
  const peek = (customer: CustomerKey): Known | undefined => {
    const known = held(customer)
    if (!known || (known.restored && isLive[0] === LIVE)) return undefined
    hits += 1
    return known
  }
  const peekNowMs = ({ set }: Known): number | undefined => (set?.sandbox ? undefined : clock.nowMs())

  const newest = (customer: CustomerKey, answered: Known): Known => {
    const here = held(customer)
    return here?.set && !here.restored && here.set.revision >= (answered.set?.revision ?? 0) ? here : answered
  }

  /** What one listener cannot take, others still hear of. */
  const call = (act: () => void) => {
    try {
      act()
    } catch (error) {
      faults.tell(error, 'a change of a set could not be told')
    }
  }

  const settle = (id: number, act: (of: { resolve: (answer: Answer) => void; reject: (error: Error) => void }) => void) => {
    const of = waiting.get(id)
    waiting.delete(id)
    if (of) act(of)
  }

  return {
    cache,
    ask,
    held,
    peek,
    load: async (customer) => peek(customer) ?? newest(customer, (await ask({ of: 'load', customer })) as Known),
    waitFor: async (customer, revision, deadlineMs, signal) => {
      const known = peek(customer)
      if ((known?.set?.revision ?? 0) >= revision) return known as Known
      return newest(customer, (await ask({ of: 'waitFor', customer, revision, deadlineMs }, signal)) as Known)
    },
    onChange: (customer, listener) => {
      const key = setKey(customer)
      const ofKey = listeners.get(key) ?? new Set()
      if (ofKey.size === 0) say({ kind: 'listen', key, customer })
      listeners.set(key, ofKey.add(listener))
      return () => {
        ofKey.delete(listener)
        if (ofKey.size > 0 || listeners.get(key) !== ofKey) return
        listeners.delete(key)
        say({ kind: 'unlisten', key, customer })
      }
    },
    onAnyChange: (listener) => {
      if (anyListeners.size === 0) say({ kind: 'listenToAll' })
      anyListeners.add(listener)
      return () => {
        if (anyListeners.delete(listener) && anyListeners.size === 0) say({ kind: 'unlistenToAll' })
      }
    },
    peekNowMs,
    loadNowMs: async (known) => peekNowMs(known) ?? ((await ask({ of: 'nowMs', known })) as number),
    asOfMs: (known) => known.asOfMs ?? known.readAtMs,
    currentAsOfMs: () => asOfMs[0] as number,
    isLive: () => isLive[0] === LIVE,
    isDoubtful: () => isLive[0] === DOUBTFUL,
    reconnects: () => 0,
    lookups: () => ({ hits, misses: 0 }),
    countHits: (count) => {
      hits += count
    },
    close: async () => undefined,
    hear: (message) => {
      switch (message.kind) {
        case 'answer':
          settle(message.id, ({ resolve }) => resolve(message.answer))
          break
        case 'failed':
          settle(message.id, ({ reject }) => reject(message.code ? new AppError(message.code, message.message) : new Error(message.message)))
          break
        case 'dictionary':
          for (const change of message.changes) dictionary.apply(change)
          break
        case 'changed':
          for (const listener of [...(listeners.get(message.key) ?? [])]) call(listener)
          break
        case 'set':
          for (const listener of anyListeners) call(() => listener(message.set))
          break
        default:
          // About the server, not about sets.
          break
      }
    },
  }
}
