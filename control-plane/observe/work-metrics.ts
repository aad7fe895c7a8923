/** The worker: what it has done, and what is due. */
import type { Backlog } from '../work/backlog.ts'
import { cachedReading } from './cached-reading.ts'
import type { Instruments, Series } from './instruments.ts'

/** A look at each index of due work; a scrape is made about as often. */
const BACKLOG_EVERY_MS = 10_000

export interface MeasuredWorker {
  done(): ReadonlyMap<string, number>
  failed(): ReadonlyMap<string, number>
  backlog(): Promise<Backlog[]>
}

const byLane = (counts: ReadonlyMap<string, number>): Series => [...counts].map(([lane, value]) => ({ labels: { lane }, value }))

export const measureWork = ({ readCounts, readEach }: Instruments, worker: MeasuredWorker, clock: { nowMs(): number }): void => {
  readCounts('tollgate_work_total', 'Documents that the worker has processed, by kind of work.', ['lane'], () => byLane(worker.done()))
  readCounts('tollgate_work_failed_total', 'Documents whose work has failed and was postponed, by kind of work.', ['lane'], () => byLane(worker.failed()))
  const backlog = cachedReading(worker.backlog, BACKLOG_EVERY_MS, clock.nowMs)
  readEach('tollgate_work_due', 'Documents of the installation that are due and not done, by kind of work. 500 means 500 or more.', ['lane'], async () =>
    ((await backlog()) ?? []).map(({ lane, due }) => ({ labels: { lane }, value: due })),
  )
  readEach('tollgate_work_lag_seconds', 'How long the oldest document has been due that is not done, by kind of work.', ['lane'], async () =>
    ((await backlog()) ?? []).map(({ lane, oldest }) => ({
      labels: { lane },
      value: oldest ? Math.max(0, (clock.nowMs() - oldest.getTime()) / 1000) : 0,
    })),
  )
}
