/** The messages between the thread that holds the feed and its workers. */

import type { Config } from '../../common/config.ts'
import type { Reason } from '../../common/entitlements/decide.ts'
import type { ExplainQuestion, Explanation } from '../../common/entitlements/explanation.ts'
import type { CustomerKey, EntitlementSet } from '../../common/entitlements/model.ts'
import type { ErrorCode } from '../../common/errors.ts'
import type { DecisionEvent } from '../check.ts'
import type { KeptReading } from '../metering/meters.ts'
import type { JudgedCount } from '../observe/judged-counts.ts'
import type { ByteCacheMemory } from '../replica/cache/byte-cache.ts'
import type { DictionaryChange } from '../replica/cache/dictionary.ts'
import type { KnownSet } from '../replica/known-set.ts'
import type { Authorization, Commit, Committed, Consumed, Release, Reserved, Use } from '../service/consuming.ts'

export const [NOT_LIVE, LIVE, DOUBTFUL] = [0, 1, 2]

/** The data that a worker starts with. */
export interface WorkerStart {
  config: Config
  /** A Secret is not copied to another thread. */
  callerKeys: Record<string, string[]> | undefined
  port: number
  memory: ByteCacheMemory
  /** [0] until when everything is known to be applied, in epoch milliseconds. */
  asOf: SharedArrayBuffer
  /** [0] `LIVE`, `DOUBTFUL` or `NOT_LIVE`: how the watch is. */
  live: SharedArrayBuffer
}

/** A question of a worker. */
export type WorkerQuestion =
  | { of: 'load'; customer: CustomerKey }
  | { of: 'waitFor'; customer: CustomerKey; revision: number; deadlineMs: number }
  | { of: 'nowMs'; known: KnownSet }
  | { of: 'asOfMs' }
  | { of: 'explain'; question: ExplainQuestion; timeoutMs: number }
  | { of: 'consume' | 'reserve'; use: Use; deadlineMs: number }
  | { of: 'commit'; commit: Commit; authorization: Authorization; deadlineMs: number }
  | { of: 'release'; reservationId: string; authorization: Authorization; deadlineMs: number }
  | { of: 'giveBack'; release: Release; deadlineMs: number }

export type WorkerAnswer = KnownSet | number | Explanation | Consumed | Reserved | Committed | undefined

export type ToMain =
  | { kind: 'ask'; id: number; question: WorkerQuestion }
  /** Nobody waits for the answer any more. */
  | { kind: 'forget'; id: number }
  | { kind: 'listen' | 'unlisten'; key: string; customer: CustomerKey }
  /** Listening to every set that comes. */
  | { kind: 'listenToAll' | 'unlistenToAll' }
  | {
      kind: 'counts'
      decisions: [method: string, reason: Reason, count: number][]
      answers: [method: string, count: number, seconds: number][]
      judged: JudgedCount[]
      hits: number
      connections: number
      faults: number
    }
  | { kind: 'decision'; event: DecisionEvent }
  | { kind: 'ready' }
  | { kind: 'closed' }

export type ToWorker =
  | { kind: 'answer'; id: number; answer: WorkerAnswer }
  | { kind: 'failed'; id: number; code: ErrorCode | undefined; message: string }
  | { kind: 'dictionary'; changes: DictionaryChange[] }
  | { kind: 'changed'; key: string }
  /** What was counted of quotas; undefined: it is forgotten. */
  | { kind: 'readings'; readings: [key: string, reading: KeptReading | undefined][] }
  | { kind: 'set'; set: EntitlementSet }
  | { kind: 'serving'; serving: boolean }
  | { kind: 'close' }
