/** The workers, seen from the thread that holds the feed. */

import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { Config } from '../../common/config.ts'
import type { ExplainQuestion, Explanation } from '../../common/entitlements/explanation.ts'
import { isAppError } from '../../common/errors.ts'
import type { Faults } from '../../common/faults.ts'
import type { Log } from '../../common/log.ts'
import type { DecisionEvent } from '../check.ts'
import type { Meters } from '../metering/meters.ts'
import type { SidecarMetrics } from '../observe/metrics.ts'
import type { DictionaryChange } from '../replica/cache/dictionary.ts'
import type { KnownSet } from '../replica/known-set.ts'
import type { WritingReplica } from '../replica/replica.ts'
import type { Consuming } from '../service/consuming.ts'
import { DOUBTFUL, LIVE, NOT_LIVE, type ToMain, type ToWorker, type WorkerAnswer, type WorkerQuestion, type WorkerStart } from './messages.ts'

/** How old what workers know of the feed's age may be. */
const AGE_EVERY_MS = 20
/** Past the servers' own time to drain. */
const CLOSE_WITHIN_MS = 8_000

export interface WorkerPool {
  setServing(serving: boolean): void
  /** The connections of each worker. */
  connectionCounts(): number[]
  /** The faults of all of them. */
  faultCount(): number
  close(): Promise<void>
}

export interface WorkerPoolOptions {
  /** Beside the thread that asks for them. */
  count: number
  config: Config
  port: number
  replica: WritingReplica
  metrics: SidecarMetrics
  explain: (question: ExplainQuestion, timeoutMs: number) => Promise<Explanation>
  /** Uses are counted by this thread: all threads share what is lent. */
  consuming: Consuming
  changedReadings: Meters['changed']
  onDecision: (event: DecisionEvent) => void
  log: Log
  faults: Faults
}

/** Starts threads that share the port, and answers what they ask. Resolves when all of them listen. */
export const startWorkers = async (options: WorkerPoolOptions): Promise<WorkerPool> => {
  const { count, config, port, replica, metrics, explain, consuming, changedReadings, onDecision, log, faults } = options
  const asOf = new SharedArrayBuffer(8)
  const live = new SharedArrayBuffer(4)
  const share = () => {
    new Float64Array(asOf)[0] = replica.currentAsOfMs()
    new Int32Array(live)[0] = replica.isLive() ? LIVE : replica.isDoubtful() ? DOUBTFUL : NOT_LIVE
  }
  share()
  const workers: Worker[] = []
  const tellReadings = () => {
    const readings = changedReadings()
    if (readings.length > 0) for (const worker of workers) worker.postMessage({ kind: 'readings', readings } satisfies ToWorker)
  }
  const timer = setInterval(() => {
    share()
    tellReadings()
  }, AGE_EVERY_MS)
  const connections = new Map<Worker, number>()
  let closing = false
  let faultCount = 0

  const dated = (known: KnownSet): KnownSet => ({ ...known, asOfMs: replica.asOfMs(known) })
  const answerTo = async (question: WorkerQuestion, signal: AbortSignal): Promise<WorkerAnswer> => {
    switch (question.of) {
      case 'load':
        return replica.load(question.customer).then(dated)
      case 'waitFor':
        return replica.waitFor(question.customer, question.revision, question.deadlineMs, signal).then(dated)
      case 'nowMs':
        return replica.loadNowMs(question.known)
      case 'asOfMs':
        return replica.settledAsOfMs()
      case 'explain':
        return explain(question.question, question.timeoutMs)
      case 'consume':
        return consuming.consume(question.use, question.deadlineMs, signal)
      case 'reserve':
        return consuming.reserve(question.use, question.deadlineMs, signal)
      case 'commit':
        return consuming.commit(question.commit, question.authorization, question.deadlineMs)
      case 'release':
        return consuming.release(question.reservationId, question.authorization, question.deadlineMs).then(() => undefined)
      case 'giveBack':
        return consuming.giveBack(question.release, question.deadlineMs)
      default:
        return question satisfies never
    }
  }

  const start = async (): Promise<Worker> => {
    const workerData: WorkerStart = { config, callerKeys: config.SIDECAR_KEYS?.reveal(), port, memory: replica.cache.memory, asOf, live }
    const worker = new Worker(new URL('./worker.ts', import.meta.url), { workerData })
    const say = (message: ToWorker) => worker.postMessage(message)
    const stops = new Map<string, () => void>()
    let stopToAll: (() => void) | undefined
    const asked = new Map<number, AbortController>()
    const hear = (message: ToMain) => {
      switch (message.kind) {
        case 'ask': {
          const { id } = message
          const forgotten = new AbortController()
          asked.set(id, forgotten)
          answerTo(message.question, forgotten.signal)
            .then(
              (answer) => {
                // A check that comes after this answer shows what it counted.
                tellReadings()
                say({ kind: 'answer', id, answer })
              },
              (error: Error) => say({ kind: 'failed', id, code: isAppError(error) ? error.code : undefined, message: error.message }),
            )
            .catch((error: unknown) => faults.tell(error, 'a worker could not be answered'))
            .finally(() => asked.delete(id))
          break
        }
        case 'forget':
          asked.get(message.id)?.abort()
          break
        case 'listen':
          stops.set(
            message.key,
            replica.onChange(message.customer, () => say({ kind: 'changed', key: message.key })),
          )
          // What has changed since it looked, before it was listened for.
          say({ kind: 'changed', key: message.key })
          break
        case 'unlisten':
          stops.get(message.key)?.()
          stops.delete(message.key)
          break
        case 'listenToAll':
          stopToAll ??= replica.onAnyChange((set) => say({ kind: 'set', set }))
          break
        case 'unlistenToAll':
          stopToAll?.()
          stopToAll = undefined
          break
        case 'counts':
          for (const [method, reason, times] of message.decisions) metrics.count(method, reason, times)
          for (const [method, times, seconds] of message.answers) metrics.observe(method, times, seconds)
          for (const [rule, outcome, dryRun, times] of message.judged) metrics.countJudged(rule, outcome, dryRun, times)
          replica.countHits(message.hits)
          connections.set(worker, message.connections)
          faultCount += message.faults
          break
        case 'decision':
          onDecision(message.event)
          break
        default:
          // `ready` and `closed` are waited for where they matter.
          break
      }
    }
    worker.on('message', (message: ToMain) => {
      try {
        hear(message)
      } catch (error) {
        faults.tell(error, "a worker's message could not be processed")
      }
    })
    // A worker that falls takes the process with it: whoever runs it starts it again, whole.
    worker.on('error', (error) => {
      throw error
    })
    worker.on('exit', (code) => {
      if (!closing) log.error({ code }, 'a worker has ended')
    })
    // What changes in one turn of the event loop is told together.
    let changes: DictionaryChange[] = []
    replica.cache.dictionary.follow((change) => {
      if (changes.length === 0) {
        queueMicrotask(() => {
          say({ kind: 'dictionary', changes })
          changes = []
        })
      }
      changes.push(change)
    })
    await until(worker, 'ready')
    return worker
  }

  workers.push(...(await Promise.all(Array.from({ length: count }, start))))
  log.info({ workers: count + 1 }, 'sidecar: threads share the port')
  return {
    setServing: (serving) => {
      for (const worker of workers) worker.postMessage({ kind: 'serving', serving } satisfies ToWorker)
    },
    connectionCounts: () => [...connections.values()],
    faultCount: () => faultCount,
    close: async () => {
      closing = true
      clearInterval(timer)
      await Promise.all(
        workers.map(async (worker) => {
          const cut = setTimeout(() => void worker.terminate(), CLOSE_WITHIN_MS)
          const ended = once(worker, 'exit')
          worker.postMessage({ kind: 'close' } satisfies ToWorker)
          await ended
          clearTimeout(cut)
        }),
      )
    },
  }
}

const until = (worker: Worker, kind: ToMain['kind']): Promise<void> =>
  new Promise((resolve, reject) => {
    const look = (message: ToMain) => {
      if (message.kind !== kind) return
      worker.off('message', look)
      resolve()
    }
    worker.on('message', look)
    worker.once('error', reject)
  })
