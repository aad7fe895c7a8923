/** Feeds on a nats-server, for tests without a control plane: one that makes the bucket and keeps it, and readers. */
import { systemClock } from '../../common/clock.ts'
import type { Feed } from '../../common/feed/feed.ts'
import { createNatsFeed, type NatsFeedOptions } from '../../common/feed/nats/feed.ts'
import { createLog } from '../../common/log.ts'
import { Secret } from '../../common/secret.ts'

const BEAT_EVERY_MS = 100

type Options = { url: string } & Partial<Omit<NatsFeedOptions, 'url'>>

const defaults = { bucket: 'test', clock: systemClock, log: createLog('silent') }

export const openReader = (options: Options): Promise<Feed> => createNatsFeed({ ...defaults, ...options, url: new Secret(options.url) })

/** As a control plane does it, with an empty storage: the bucket is complete at once. */
export const openKept = async (options: Options): Promise<Feed> => {
  const feed = await createNatsFeed({ ...defaults, keeps: {}, ...options, url: new Secret(options.url) })
  const { keeper } = feed
  if (!keeper) throw new Error('it keeps nothing')
  let count = 1
  const beat = async () => {
    if (!(await keeper.look()).isComplete) await (await keeper.claim({ anew: false }))?.complete()
    await keeper.beat({ id: 'test', count: count++ })
  }
  try {
    await beat()
  } catch (error) {
    await feed.close()
    throw error
  }
  const timer = setInterval(() => {
    // A feed that is away is what some tests are about.
    beat().catch(() => keeper.remake().catch(() => undefined))
  }, BEAT_EVERY_MS)
  return {
    ...feed,
    close: async () => {
      clearInterval(timer)
      await feed.close()
    },
  }
}
