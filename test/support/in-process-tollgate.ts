/** A control plane in the test's own process, with the feed that sidecars of the test may be opened on. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Clock, systemClock } from '../../common/clock.ts'
import { readConfig } from '../../common/config.ts'
import type { EntitlementSet } from '../../common/entitlements/model.ts'
import type { Feed } from '../../common/feed/feed.ts'
import { createLog } from '../../common/log.ts'
import { openFeed, openStorage, startControlPlane } from '../../control-plane/compose.ts'
import { PLATFORM_KEY } from './tollgate.ts'

export interface InProcessTollgate extends AsyncDisposable {
  /** Base URL of the HTTP API. */
  http: string
  feed: Feed
}

export const openInProcessTollgate = async (): Promise<InProcessTollgate> => {
  await using started = new AsyncDisposableStack()
  const dataDir = await mkdtemp(join(tmpdir(), 'tollgate-'))
  started.defer(() => rm(dataDir, { recursive: true, force: true }))
  const config = readConfig({ DATA_DIR: dataDir, HTTP_PORT: '0', PLATFORM_API_KEY: PLATFORM_KEY, WORKER_POLL_MS: '200', LOG_LEVEL: 'error' })
  const [clock, log] = [systemClock, createLog('error')]
  const storage = await openStorage(config, clock, log)
  started.defer(() => storage.close())
  const feed = await openFeed(config, clock, log, storage)
  started.defer(() => feed.close())
  const controlPlane = await startControlPlane({ config, storage, feed, clock, log })
  started.defer(() => controlPlane.close())
  const parts = started.move()
  return { http: controlPlane.url, feed, [Symbol.asyncDispose]: () => parts.disposeAsync() }
}

/** The feed as if its tenants were live, and the time were that of `clock`: for what is not done for sandboxes. */
export const asLive = (feed: Feed, clock: Pick<Clock, 'nowMs'>): Feed => {
  const live = <Set extends EntitlementSet | undefined>(set: Set): Set => set && { ...set, sandbox: false }
  return {
    ...feed,
    getSet: async (customer) => live(await feed.getSet(customer)),
    getClock: async () => undefined,
    watch: async (listener) => {
      const watch = await feed.watch({ ...listener, onSet: (set) => listener.onSet(live(set)), onClock: () => undefined })
      return { ...watch, currentAsOfMs: () => clock.nowMs() }
    },
  }
}
