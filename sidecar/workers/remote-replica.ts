/**
 * A replica as a worker has it: what is held is read from the memory that all threads share, everything else is asked of
 * the thread that holds the feed.
 */
import type { MessagePort } from 'node:worker_threads'
import type { Clock } from '../../common/clock.ts'
import type { CustomerKey } from '../../common/entitlements/model.ts'
import { AppError } from '../../common/errors.ts'
import type { Faults } from '../../common/faults.ts'
import { ByteCacheReader } from '../replica/cache/byte-cache.ts'
import { DictionaryMirror } from '../replica/cache/dictionary.ts'
import { SetReader } from '../replica/cache/set-reader.ts'
import { createChanges } from '../replica/changes.ts'
import type { KnownSet } from '../replica/known-set.ts'
import type { Replica } from '../replica/replica.ts'
import { DOUBTFUL, LIVE, type ToMain, type ToWorker, type WorkerAnswer, type WorkerQuestion, type WorkerStart } from './messages.ts'

export interface RemoteReplica extends Replica {
  /** Questions that were answered from memory. */
  hits(): number
  /** Asks the main thread. @throws AppError as it does; the signal's own reason when it aborts. */
  ask(question: WorkerQuestion, signal?: AbortSignal): Promise<WorkerAnswer>
  hear(message: ToWorker): void
}

interface WaitingQuestion {
  resolve: (answer: WorkerAnswer) => void
  reject: (error: Error) => void
}

export const createRemoteReplica = ({ memory, asOf, live }: WorkerStart, port: MessagePort, clock: Clock, faults: Faults): RemoteReplica => {
  const dictionary = new DictionaryMirror()
  const cache = new SetReader(new ByteCacheReader(memory), dictionary)
  const asOfMs = new Float64Array(asOf)
  const isLive = new Int32Array(live)
  const waiting = new Map<number, WaitingQuestion>()
  let lastId = 0
  let hits = 0
  const say = (message: ToMain) => port.postMessage(message)
  const changes = createChanges({
    faults,
    onFirst: (customer, key) => say({ kind: 'listen', key, customer }),
    onLast: (customer, key) => say({ kind: 'unlisten', key, customer }),
    onFirstOfAll: () => say({ kind: 'listenToAll' }),
    onLastOfAll: () => say({ kind: 'unlistenToAll' }),
  })

  const ask = (question: WorkerQuestion, signal?: AbortSignal): Promise<WorkerAnswer> =>
    new Promise((resolve, reject) => {
      lastId += 1
      const id = lastId
      waiting.set(id, { resolve, reject })
      say({ kind: 'ask', id, question })
      signal?.addEventListener(
        'abort',
        () => {
          if (!waiting.delete(id)) return
          say({ kind: 'forget', id })
          reject(signal.reason)
        },
        { once: true },
      )
    })
  const finish = (id: number, act: (question: WaitingQuestion) => void) => {
    const question = waiting.get(id)
    waiting.delete(id)
    if (question) act(question)
  }

  /** The age is read before the set: the thread that holds the feed may replace the set, and then move the age on. */
  const held = (customer: CustomerKey): KnownSet | undefined => {
    const beforeMs = asOfMs[0] as number
    const known: KnownSet | undefined = cache.get(customer)
    if (known) known.asOfMs = known.restored || known.behind ? known.readAtMs : Math.max(known.readAtMs, beforeMs)
    return known
  }
  const current = (customer: CustomerKey): KnownSet | undefined => {
    const known = held(customer)
    if (!known || (known.restored && isLive[0] === LIVE)) return undefined
    hits += 1
    return known
  }
  const newest = (customer: CustomerKey, answered: KnownSet): KnownSet => {
    const here = held(customer)
    return here?.set && !here.restored && here.set.revision >= (answered.set?.revision ?? 0) ? here : answered
  }
  const nowMsFor = ({ set }: KnownSet): number | undefined => (set?.sandbox ? undefined : clock.nowMs())

  return {
    cache,
    countHits: (count) => {
      hits += count
    },
    hits: () => hits,
    ask,
    held,
    current,
    load: async (customer) => current(customer) ?? newest(customer, (await ask({ of: 'load', customer })) as KnownSet),
    waitFor: async (customer, revision, deadlineMs, signal) => {
      const known = current(customer)
      if ((known?.set?.revision ?? 0) >= revision) return known as KnownSet
      return newest(customer, (await ask({ of: 'waitFor', customer, revision, deadlineMs }, signal)) as KnownSet)
    },
    onChange: changes.onChange,
    onAnyChange: changes.onAnyChange,
    nowMsFor,
    loadNowMs: async (known) => nowMsFor(known) ?? ((await ask({ of: 'nowMs', known })) as number),
    asOfMs: (known) => known.asOfMs ?? known.readAtMs,
    currentAsOfMs: () => asOfMs[0] as number,
    // Changes come by the same port, before the answer.
    settledAsOfMs: async () => (await ask({ of: 'asOfMs' })) as number,
    isLive: () => isLive[0] === LIVE,
    isDoubtful: () => isLive[0] === DOUBTFUL,
    hear: (message) => {
      switch (message.kind) {
        case 'answer':
          finish(message.id, ({ resolve }) => resolve(message.answer))
          break
        case 'failed':
          finish(message.id, ({ reject }) => reject(message.code ? new AppError(message.code, message.message) : new Error(message.message)))
          break
        case 'dictionary':
          for (const change of message.changes) dictionary.apply(change)
          break
        case 'changed':
          changes.changed(message.key)
          break
        case 'set':
          changes.anyChanged(message.set)
          break
        default:
          // About the server, not about sets.
          break
      }
    },
  }
}
