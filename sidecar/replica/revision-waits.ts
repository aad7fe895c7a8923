/** Calls that wait until a customer's set has a revision. */
import type { Clock } from '../../common/clock.ts'
import type { CustomerKey } from '../../common/entitlements/model.ts'
import { AppError } from '../../common/errors.ts'
import { MissingSetError } from '../../common/feed/feed.ts'
import type { Changes } from './changes.ts'
import type { KnownSet } from './known-set.ts'

/** A feed that could not be asked is asked again after this; the watch may bring the set before. */
const ASK_AGAIN_MS = 250
/** Calls that wait at once: each holds a timer and a listener, a few kilobytes. */
const MAX_WAITING = 20_000

export interface RevisionWaits {
  /**
   * Waits until the customer's set has at least this revision.
   * @throws AppError `revision_not_reached` when it has not by `deadlineMs`, `unavailable` when the replica is closed
   * before or that revision is known to be missing, and the signal's own reason when it aborts.
   */
  waitFor(customer: CustomerKey, revision: number, deadlineMs: number, signal?: AbortSignal): Promise<KnownSet>
}

export interface EndableWaits {
  /** The number of calls that wait now. */
  waiting(): number
  endAll(error: Error): void
}

export const createRevisionWaits = (options: {
  clock: Clock
  changes: Pick<Changes, 'onChange'>
  current(customer: CustomerKey): KnownSet | undefined
  fetch(customer: CustomerKey): Promise<KnownSet>
  /** The revision that cannot be read; 0 when there is none. */
  missingRevision(customer: CustomerKey): number
}): RevisionWaits & EndableWaits => {
  const { clock, changes, current, fetch, missingRevision } = options
  /** One function per call, which ends its wait with an error. */
  const waits = new Set<(error: Error) => void>()

  return {
    waitFor: async (customer, revision, deadlineMs, signal) => {
      const isReached = (known: KnownSet | undefined): known is KnownSet => (known?.set?.revision ?? 0) >= revision
      const held = current(customer)
      if (isReached(held)) return held
      signal?.throwIfAborted()
      if (waits.size >= MAX_WAITING) throw new AppError('unavailable', 'too many calls are waiting for a revision; try again')
      return new Promise<KnownSet>((resolve, reject) => {
        let newest: KnownSet | undefined = held
        const tooLate = () =>
          fail(new AppError('revision_not_reached', `the customer's set is not at revision ${revision} yet; it is at ${newest?.set?.revision ?? 0}`))
        /** @param known the feed's answer, or what the watch has brought: `current` lacks a set that the cache has no room for. */
        const look = (known = current(customer)) => {
          newest = known ?? newest
          if (isReached(known)) {
            end()
            resolve(known)
          } else if (missingRevision(customer) >= revision) fail(new MissingSetError({ ...customer, revision }))
        }
        const fail = (error: Error) => {
          end()
          reject(error)
        }
        const abort = () => fail(signal?.reason)
        let askAgain: NodeJS.Timeout | undefined
        const ask = (): void => {
          fetch(customer).then(look, (error: unknown) => {
            if (error instanceof MissingSetError) look()
            else if (waits.has(fail)) askAgain = setTimeout(ask, ASK_AGAIN_MS)
          })
        }
        const end = () => {
          clearTimeout(timer)
          clearTimeout(askAgain)
          stop()
          signal?.removeEventListener('abort', abort)
          waits.delete(fail)
        }
        waits.add(fail)
        signal?.addEventListener('abort', abort)
        const stop = changes.onChange(customer, look)
        const timer = setTimeout(tooLate, Math.max(0, deadlineMs - clock.nowMs()))
        // The feed may have it already, where the watch has still to bring it. If the feed is away, the watch may yet.
        ask()
      })
    },
    waiting: () => waits.size,
    endAll: (error) => {
      for (const fail of [...waits]) fail(error)
    },
  }
}
