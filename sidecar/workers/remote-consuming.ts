/** Uses as a worker counts them: by the thread that holds the leases, which tells what it knows of them. */
import { LRUCache } from 'lru-cache'
import { type KeptReading, meteredKeyOf, type Readings } from '../metering/meters.ts'
import type { Committed, Consumed, Consuming, Reserved } from '../service/consuming.ts'
import type { RemoteReplica } from './remote-replica.ts'

/** As many as there are meters. */
const MAX_READINGS = 200_000

export const createKeptReadings = (): Readings & { hear(readings: readonly [string, KeptReading | undefined][]): void } => {
  const kept = new LRUCache<string, KeptReading>({ max: MAX_READINGS })
  return {
    hear: (readings) => {
      for (const [key, reading] of readings) kept.set(key, reading)
    },
    reading: (set, entitlement, nowMs) => {
      const found = kept.size === 0 ? undefined : kept.get(meteredKeyOf(set, entitlement))
      if (!found || (found.reading.resetsAtMs ?? Infinity) <= nowMs) return undefined
      return { ...found.reading, isOld: found.reading.isOld || found.revision !== set.revision }
    },
    size: () => kept.size,
  }
}

export const createRemoteConsuming = (ask: RemoteReplica['ask']): Consuming => ({
  consume: async (use, deadlineMs, signal) => (await ask({ of: 'consume', use, deadlineMs }, signal)) as Consumed,
  reserve: async (use, deadlineMs, signal) => (await ask({ of: 'reserve', use, deadlineMs }, signal)) as Reserved,
  commit: async (commit, authorization, deadlineMs) => (await ask({ of: 'commit', commit, authorization, deadlineMs })) as Committed,
  release: async (reservationId, authorization, deadlineMs) => void (await ask({ of: 'release', reservationId, authorization, deadlineMs })),
  giveBack: async (release, deadlineMs) => (await ask({ of: 'giveBack', release, deadlineMs })) as number,
})
