/**
 * The metrics that Prometheus reads. The hot path only adds to numbers; everything else is asked for when it is read. Names
 * and units: https://prometheus.io/docs/practices/naming/.
 */
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import type { Reason } from '../../common/entitlements/decide.ts'
import { ownVersion } from '../../common/version.ts'
import type { MeterStats } from '../metering/meters.ts'
import type { CacheStats } from '../replica/cache/set-cache.ts'
import { createJudgedCounts, type JudgedCounts } from './judged-counts.ts'

export interface MetricSources {
  cache(): CacheStats
  /** Answered from memory, and not. */
  lookups(): { hits: number; misses: number }
  asOfMs(): number
  isLive(): boolean
  isDoubtful(): boolean
  isReady(): boolean
  reconnects(): number
  /** Calls that wait for a revision. */
  waiting(): number
  /** Customers whose newest sets could not be read. */
  behind(): number
  /** Quotas that are counted here, and what their ledgers were asked. */
  meters(): MeterStats
  /** Faults of ours, in all threads. */
  faults(): number
  /** The connections of each thread. */
  connections(): number[]
}

export interface SidecarMetrics {
  count(method: string, reason: Reason, times?: number): void
  /** So many answers that took so many seconds each. */
  observe(method: string, count: number, seconds: number): void
  /** Requests of gateways. */
  countJudged: JudgedCounts['count']
  /** Reads from these sources from now on. */
  watch(sources: MetricSources, nowMs: () => number): void
  /** Prometheus' text format. */
  text(): Promise<string>
  contentType: string
}

export const createSidecarMetrics = (): SidecarMetrics => {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const counts = new Map<string, Map<Reason, number>>()
  const into = { registers: [registry] }
  new Gauge({ ...into, name: 'tollgate_build_info', help: '1, with the versions of Tollgate and Node.js.', labelNames: ['version', 'node'] }).set(
    { version: ownVersion(), node: process.versions.node },
    1,
  )
  const decisions: Counter<'method' | 'reason'> = new Counter({
    ...into,
    name: 'tollgate_decisions_total',
    help: 'Decisions, by call and reason.',
    labelNames: ['method', 'reason'],
    collect: () => {
      decisions.reset()
      for (const [method, reasons] of counts) for (const [reason, count] of reasons) decisions.inc({ method, reason }, count)
    },
  })
  const judged = createJudgedCounts()
  const authorizations: Counter<'rule' | 'outcome' | 'dry_run'> = new Counter({
    ...into,
    name: 'tollgate_ext_authz_total',
    help: 'Requests of gateways, by rule and outcome. In a dry run, the outcome is what it would have been.',
    labelNames: ['rule', 'outcome', 'dry_run'],
    collect: () => {
      for (const [rule, outcome, dryRun, count] of judged.take()) authorizations.inc({ rule, outcome, dry_run: String(dryRun) }, count)
    },
  })
  // Each bucket as far from the next as from the one before: from 5 µs to 2.6 s.
  const bounds = Array.from({ length: 20 }, (_, n) => 0.000_005 * 2 ** n)
  /** A histogram of our own: answers come many at once, and the library's counts one by one. */
  const batches = new Map<string, { buckets: Float64Array; sum: number; count: number }>()
  const gauge = (name: string, help: string, read: (sources: MetricSources, nowMs: number) => number) => {
    const made: Gauge = new Gauge({ ...into, name, help, collect: () => (sources ? made.set(read(sources, now())) : undefined) })
    return made
  }
  const counter = (name: string, help: string, read: (sources: MetricSources) => number) => {
    const made: Counter = new Counter({
      ...into,
      name,
      help,
      collect: () => {
        made.reset()
        if (sources) made.inc(read(sources))
      },
    })
    return made
  }
  let sources: MetricSources | undefined
  let now = () => 0
  counter('tollgate_cache_hits_total', 'Questions about a customer that were answered from memory.', (of) => of.lookups().hits)
  counter('tollgate_cache_misses_total', 'Questions about a customer that needed the feed.', (of) => of.lookups().misses)
  counter('tollgate_cache_evictions_total', 'Sets evicted because memory was full.', (of) => of.cache().evictions)
  counter('tollgate_feed_reconnects_total', 'How often the sidecar has reconnected to the feed.', (of) => of.reconnects())
  counter('tollgate_faults_total', 'Faults of the sidecar or its data: calls that failed with INTERNAL, and changes that could not be applied.', (of) =>
    of.faults(),
  )
  counter('tollgate_ledger_questions_total', 'Questions to ledgers: for units, and of what was spent.', (of) => of.meters().questions)
  counter('tollgate_ledger_unanswered_total', 'Questions to ledgers that no control plane answered in time.', (of) => of.meters().unanswered)
  gauge('tollgate_meters', 'Quotas of customers that were counted here in the last minute.', (of) => of.meters().size)
  gauge('tollgate_sets_behind', 'Customers whose newest set could not be read, among those that were asked for.', (of) => of.behind())
  gauge('tollgate_cache_sets', 'Sets that are held in memory, one per customer.', (of) => of.cache().sets)
  gauge('tollgate_cache_bytes', 'Bytes that sets use.', (of) => of.cache().usedBytes)
  gauge('tollgate_cache_max_bytes', 'Bytes that sets may use (CACHE_MAX_BYTES).', (of) => of.cache().maxBytes)
  gauge('tollgate_feed_complete', '0 while the feed is lost or being refilled: answers are stale, and unknown customers unavailable.', (of) =>
    Number(!of.isDoubtful()),
  )
  gauge('tollgate_feed_live', '1 while the sidecar receives changes as they are made.', (of) => Number(of.isLive()))
  gauge('tollgate_feed_lag_seconds', 'Age of the known data, which is the age of as_of in answers. +Inf: nothing is known yet.', (of, nowMs) =>
    of.asOfMs() === 0 ? Number.POSITIVE_INFINITY : Math.max(0, (nowMs - of.asOfMs()) / 1000),
  )
  gauge('tollgate_ready', '1 once the feed, or a snapshot, has been applied.', (of) => Number(of.isReady()))
  gauge('tollgate_waiting_calls', 'Calls that are waiting for a revision (min_revision).', (of) => of.waiting())
  const connections: Gauge<'thread'> = new Gauge({
    ...into,
    name: 'tollgate_connections',
    help: 'Open connections of callers, by thread.',
    labelNames: ['thread'],
    collect: () => {
      for (const [thread, count] of (sources?.connections() ?? []).entries()) connections.set({ thread }, count)
    },
  })

  return {
    contentType: registry.contentType,
    count: (method, reason, times = 1) => {
      let reasons = counts.get(method)
      if (!reasons) {
        reasons = new Map()
        counts.set(method, reasons)
      }
      reasons.set(reason, (reasons.get(reason) ?? 0) + times)
    },
    countJudged: judged.count,
    observe: (method, count, each) => {
      let batch = batches.get(method)
      if (!batch) {
        batch = { buckets: new Float64Array(bounds.length + 1), sum: 0, count: 0 }
        batches.set(method, batch)
      }
      let bucket = 0
      while (bucket < bounds.length && each > (bounds[bucket] as number)) bucket += 1
      batch.buckets[bucket] = (batch.buckets[bucket] as number) + count
      batch.sum += each * count
      batch.count += count
    },
    watch: (of, nowMs) => {
      sources = of
      now = nowMs
    },
    text: async () => `${await registry.metrics()}\n${histogramText('tollgate_answer_seconds', bounds, batches)}`,
  }
}

const histogramText = (
  name: string,
  bounds: readonly number[],
  batches: ReadonlyMap<string, { buckets: Float64Array; sum: number; count: number }>,
): string => {
  const lines = [
    `# HELP ${name} Time from the last byte of a request to its answer. Requests that arrive together are answered together and count the same time.`,
    `# TYPE ${name} histogram`,
  ]
  for (const [method, { buckets, sum, count }] of batches) {
    let below = 0
    for (const [n, bound] of bounds.entries()) {
      below += buckets[n] as number
      lines.push(`${name}_bucket{method="${method}",le="${bound}"} ${below}`)
    }
    lines.push(`${name}_bucket{method="${method}",le="+Inf"} ${count}`, `${name}_sum{method="${method}"} ${sum}`, `${name}_count{method="${method}"} ${count}`)
  }
  return `${lines.join('\n')}\n`
}
