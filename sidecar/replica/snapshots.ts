/** Takes what a snapshot says at the start, and writes one now and then, and at the end. */
import type { Clock } from '../../common/clock.ts'
import { type Config, ConfigError } from '../../common/config.ts'
import type { Faults } from '../../common/faults.ts'
import type { Log } from '../../common/log.ts'
import type { WritingReplica } from './replica.ts'
import { readSnapshot, SnapshotError, writeSnapshot } from './snapshot.ts'

export interface Snapshots {
  /** How many sets were taken from it. */
  restored: number
  /** The time when the snapshot that was taken had been written; 0 when none was. */
  writtenAtMs: number
  close(): Promise<void>
}

/**
 * Reads the last snapshot into the replica, and writes one every `SNAPSHOT_EVERY_MS` and at the end. One that cannot be read is
 * logged and ignored.
 * @throws ConfigError when SNAPSHOT_KEY is set without SNAPSHOT_FILE.
 */
export const openSnapshots = async (options: { config: Config; replica: WritingReplica; clock: Clock; log: Log; faults: Faults }): Promise<Snapshots> => {
  const { config, replica, clock, log, faults } = options
  const { SNAPSHOT_FILE: path, SNAPSHOT_EVERY_MS: everyMs } = config
  if (path === undefined) {
    if (config.SNAPSHOT_KEY !== undefined) throw new ConfigError('SNAPSHOT_KEY needs SNAPSHOT_FILE: set both, or neither')
    return { restored: 0, writtenAtMs: 0, close: async () => undefined }
  }
  const key = config.SNAPSHOT_KEY === undefined ? undefined : Buffer.from(config.SNAPSHOT_KEY.reveal(), 'base64')

  const nothing = { sets: 0, writtenAtMs: 0 }
  const restore = async (): Promise<typeof nothing> => {
    try {
      const found = await readSnapshot(path, key, {
        set: ({ set, readAtMs, behind }) => replica.cache.set(set, readAtMs, true, behind),
        clock: (testClock) => replica.restoreClock(testClock),
      })
      if (!found) return nothing
      if (found.unread > 0)
        log.error({ sets: found.unread }, 'the snapshot has sets that this version cannot read; they are skipped, and fetched from the feed when needed')
      log.info({ sets: found.sets, writtenAt: new Date(found.writtenAtMs).toISOString() }, 'the snapshot was read')
      return found
    } catch (error) {
      const why = error instanceof SnapshotError ? error.message : 'it cannot be read'
      log.error({ err: error, file: path }, `the snapshot is ignored: ${why}`)
      return nothing
    }
  }
  let writing: Promise<void> | undefined
  const write = async (): Promise<void> => {
    try {
      const sets = await writeSnapshot(path, { cache: replica.cache, clocks: replica.clocks, asOfMs: replica.asOfMs, faults }, key, clock.nowMs())
      log.debug({ sets }, 'a snapshot was written')
    } catch (error) {
      log.error({ err: error, file: path }, 'the snapshot could not be written')
    }
  }
  /** One at a time. */
  const writeNow = (): Promise<void> => {
    writing ??= write().finally(() => {
      writing = undefined
    })
    return writing
  }

  const { sets: restored, writtenAtMs } = await restore()
  const timer = setInterval(() => void writeNow(), everyMs)
  timer.unref()
  return {
    restored,
    writtenAtMs: restored > 0 ? writtenAtMs : 0,
    close: async () => {
      clearInterval(timer)
      await writing
      // What is held now is newer than what is on disk; but nothing is not better than something.
      if (replica.cache.stats.sets > 0) await writeNow()
    },
  }
}
