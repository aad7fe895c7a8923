/** The metrics of a control plane in Prometheus' text format. No metric names a tenant or a customer. */
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'

export interface ControlPlaneMetricSources {
  access: { failures(): number }
  feed: { isComplete(): boolean; filled(): number; fillings(): number }
  clock: { problem(): string | undefined }
  /** Work that was done since the start, by lane. */
  worker: { done(): ReadonlyMap<string, number> }
}

export interface ControlPlaneMetrics {
  text(): Promise<string>
  contentType: string
}

export const createControlPlaneMetrics = ({ access, feed, clock, worker }: ControlPlaneMetricSources): ControlPlaneMetrics => {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const registers = [registry]
  const gauge = (name: string, help: string, read: () => number): void => {
    const made: Gauge = new Gauge({ registers, name, help, collect: () => made.set(read()) })
  }
  gauge('tollgate_feed_complete', '1 while sidecars can trust the feed; 0 while it is being filled or cannot be reached.', () => Number(feed.isComplete()))
  gauge('tollgate_feed_filled_sets', 'Sets that this process has put into the feed so far in its latest filling.', feed.filled)
  gauge('tollgate_feed_fillings', 'Fillings of the feed that this process has completed.', feed.fillings)
  const failures: Counter = new Counter({
    registers,
    name: 'tollgate_authentication_failures_total',
    help: 'Requests with an unknown or revoked key.',
    collect: () => {
      failures.reset()
      failures.inc(access.failures())
    },
  })
  gauge('tollgate_clock_believed', '0 while nothing is billed because the time cannot be trusted.', () => Number(clock.problem() === undefined))
  const work: Counter<'lane'> = new Counter({
    registers,
    name: 'tollgate_work_total',
    help: 'Documents that the worker has processed, by kind of work.',
    labelNames: ['lane'],
    collect: () => {
      work.reset()
      for (const [lane, count] of worker.done()) work.inc({ lane }, count)
    },
  })
  return { text: () => registry.metrics(), contentType: registry.contentType }
}
