import test from 'ava'
import { createSidecarMetrics } from '../../sidecar/observe/metrics.ts'

test("the age of a replica is that of the feed's last word, and infinite if there was none", async (t) => {
  const lagOf = async (asOfMs: number) => {
    const metrics = createSidecarMetrics()
    const none = () => 0
    metrics.watch(
      {
        cache: () => ({ sets: 0, usedBytes: 0, maxBytes: 0, evictions: 0 }),
        lookups: () => ({ hits: 0, misses: 0 }),
        asOfMs: () => asOfMs,
        isLive: () => false,
        isDoubtful: () => false,
        isReady: () => true,
        reconnects: none,
        waiting: none,
        behind: none,
        meters: () => ({ size: 0, questions: 0, unanswered: 0 }),
        faults: none,
        connections: () => [],
      },
      () => 1_800_000_000_000,
    )
    return /^tollgate_feed_lag_seconds (.*)$/m.exec(await metrics.text())?.[1]
  }
  t.is(await lagOf(1_799_999_940_000), '60')
  t.is(await lagOf(0), '+Inf')
})
