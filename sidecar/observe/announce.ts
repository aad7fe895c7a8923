/** Tells control planes how this sidecar is, from time to time. Nothing depends on it: what cannot be told is told with the next. */
import { setTimeout as sleep } from 'node:timers/promises'
import { isAppError } from '../../common/errors.ts'
import type { Faults } from '../../common/faults.ts'
import type { Feed } from '../../common/feed/feed.ts'
import { encodeSidecarStatus, type SidecarStatus } from '../../common/sidecar-status.ts'

/** The control plane of the same process starts after its sidecar. */
const FIRST_AFTER_MS = 1_000
const EVERY_MS = 10_000
const FAREWELL_WITHIN_MS = 500

/** @param tenants that this sidecar is limited to: it may speak at their subjects alone. @returns what ends it, with a farewell. */
export const startAnnouncing = (options: {
  feed: Pick<Feed, 'tell'>
  tenants: readonly string[] | undefined
  status(): SidecarStatus
  faults: Faults
}): (() => Promise<void>) => {
  const { feed, tenants, status, faults } = options
  const tell = async (change?: Pick<SidecarStatus, 'leaving'>): Promise<void> => {
    try {
      await feed.tell(tenants?.[0], encodeSidecarStatus({ ...status(), ...change }))
    } catch (error) {
      if (!isAppError(error, 'unavailable')) faults.tell(error, 'control planes could not be told how this sidecar is')
    }
  }
  let stopped = false
  let timer = setTimeout(announce, FIRST_AFTER_MS)
  timer.unref()
  async function announce(): Promise<void> {
    await tell()
    if (stopped) return
    timer = setTimeout(announce, EVERY_MS)
    timer.unref()
  }
  return async () => {
    stopped = true
    clearTimeout(timer)
    await Promise.race([tell({ leaving: true }), sleep(FAREWELL_WITHIN_MS, undefined, { ref: false })])
  }
}
