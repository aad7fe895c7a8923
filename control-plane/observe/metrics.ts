/** The metrics of a control plane in Prometheus' text format. They may name a tenant and its PSP accounts, and never a customer. */
import { collectDefaultMetrics, Registry } from 'prom-client'
import { ownVersion } from '../../common/version.ts'
import { type Instruments, instrumentsIn, type Series } from './instruments.ts'

export interface ControlPlaneMetrics {
  /** Where other parts make their own metrics. */
  instruments: Instruments
  text(): Promise<string>
  contentType: string
}

export const createControlPlaneMetrics = (): ControlPlaneMetrics => {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const instruments = instrumentsIn(registry)
  const build = { version: ownVersion(), node: process.versions.node }
  instruments.readEach('tollgate_build_info', '1, with the versions of Tollgate and Node.js.', ['version', 'node'], () => [{ labels: build, value: 1 }])
  return { instruments, text: () => registry.metrics(), contentType: registry.contentType }
}

export interface RunningParts {
  access: { failures(): number }
  feed: {
    isComplete(): boolean
    filled(): number
    fillings(): number
    /** In epoch milliseconds; undefined before the first one, and for a feed that needs none. */
    lastBeatMs(): number | undefined
  }
  clock: { problem(): string | undefined; nowMs(): number }
}

/** What a control plane knows of itself at any time, read when it is asked for. */
export const measureParts = ({ read, readCounts }: Instruments, { access, feed, clock }: RunningParts): void => {
  read('tollgate_feed_complete', '1 while sidecars can trust the feed; 0 while it is being filled or cannot be reached.', () => Number(feed.isComplete()))
  read('tollgate_feed_filled_sets', 'Sets that this process has put into the feed so far in its latest filling.', feed.filled)
  read('tollgate_feed_fillings', 'Fillings of the feed that this process has completed.', feed.fillings)
  read('tollgate_feed_beat_age_seconds', "Age of this process's last beat to the feed. Absent for the in-process feed, which needs none.", () => {
    const lastMs = feed.lastBeatMs()
    return lastMs === undefined ? undefined : Math.max(0, (clock.nowMs() - lastMs) / 1000)
  })
  readCounts('tollgate_authentication_failures_total', 'Requests with an unknown or revoked key.', [], (): Series => [{ labels: {}, value: access.failures() }])
  read('tollgate_clock_believed', '0 while nothing is billed because the time cannot be trusted.', () => Number(clock.problem() === undefined))
}
