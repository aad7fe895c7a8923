/** A thread that serves: the same calls on the same port, from the memory that the main thread fills. */
import { parentPort, workerData } from 'node:worker_threads'
import { systemClock } from '../../common/clock.ts'
import type { Reason } from '../../common/entitlements/decide.ts'
import type { Explanation } from '../../common/entitlements/explanation.ts'
import { createFaults } from '../../common/faults.ts'
import { createLog } from '../../common/log.ts'
import { Secret } from '../../common/secret.ts'
import { startTracing, stopTracing } from '../../common/tracing.ts'
import { createJudgedCounts } from '../observe/judged-counts.ts'
import { createObserver } from '../observe/observer.ts'
import { sampler } from '../observe/sampler.ts'
import { createServing } from '../serving.ts'
import type { ToMain, ToWorker, WorkerStart } from './messages.ts'
import { createKeptReadings, createRemoteConsuming } from './remote-consuming.ts'
import { createRemoteReplica } from './remote-replica.ts'

/** How often what was counted is told. */
const TELL_EVERY_MS = 500

const port = parentPort
if (!port) throw new Error('this file is a worker of the sidecar; start sidecar/main.ts instead')
const start = workerData as WorkerStart
const { callerKeys } = start
const config = { ...start.config, SIDECAR_KEYS: callerKeys && new Secret(callerKeys) }
const log = createLog(config.LOG_LEVEL)
const faults = createFaults(log, systemClock)
const say = (message: ToMain) => port.postMessage(message)

await startTracing(config, 'tollgate-sidecar', log)
const replica = createRemoteReplica(start, port as never, systemClock, faults)
let decisions = new Map<string, Map<Reason, number>>()
let answers: [method: string, count: number, seconds: number][] = []
const judged = createJudgedCounts()
const counting = {
  count: (method: string, reason: Reason, times = 1) => {
    const reasons = decisions.get(method) ?? new Map<Reason, number>()
    decisions.set(method, reasons.set(reason, (reasons.get(reason) ?? 0) + times))
  },
  observe: (method: string, count: number, seconds: number) => void answers.push([method, count, seconds]),
}
const observer = createObserver({
  log,
  metrics: counting,
  denialsShare: config.DENIALS_SHARE,
  decisions: config.DECISION_LOG === undefined ? undefined : { isDue: sampler(config.DECISION_LOG_SHARE), write: (event) => say({ kind: 'decision', event }) },
})
const readings = createKeptReadings()
const serving = await createServing({
  config,
  replica,
  clock: systemClock,
  log,
  faults,
  observer,
  onAnswered: counting.observe,
  onJudged: judged.count,
  explain: async (question, timeoutMs) => (await replica.ask({ of: 'explain', question, timeoutMs })) as Explanation,
  readings,
  consumingOf: () => createRemoteConsuming(replica.ask),
  where: { port: start.port, socketPath: undefined, sharePort: true },
})

let toldHits = 0
let toldFaults = 0
const tell = () => {
  const hits = replica.hits()
  say({
    kind: 'counts',
    decisions: [...decisions].flatMap(([method, reasons]) => [...reasons].map(([reason, count]): [string, Reason, number] => [method, reason, count])),
    answers,
    judged: judged.take(),
    hits: hits - toldHits,
    connections: serving.connectionCount(),
    faults: faults.count() - toldFaults,
  })
  toldHits = hits
  toldFaults = faults.count()
  decisions = new Map()
  answers = []
}
const timer = setInterval(tell, TELL_EVERY_MS)

port.on('message', async (message: ToWorker) => {
  try {
    replica.hear(message)
    if (message.kind === 'readings') readings.hear(message.readings)
  } catch (error) {
    faults.tell(error, 'a message of the main thread could not be processed')
  }
  if (message.kind === 'serving') serving.setServing(message.serving)
  if (message.kind !== 'close') return
  await serving.close()
  await stopTracing()
  clearInterval(timer)
  tell()
  say({ kind: 'closed' })
  port.close()
})
say({ kind: 'ready' })
