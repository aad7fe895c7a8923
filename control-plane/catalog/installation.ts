import { randomUUID } from 'node:crypto'
import type { StorageMark } from '../../common/feed/feed.ts'
import { keys, PLATFORM } from '../keys.ts'
import type { Services } from '../ports.ts'
import type { Installation } from '../schemas/installation.ts'
import { insertOrGet } from '../storage/update.ts'

/** The installation that this storage is: made by whoever comes first. */
export const installationOf = async ({ storage, clock }: Pick<Services, 'storage' | 'clock'>): Promise<Installation> =>
  (await storage.installations.find(keys.installation)) ??
  insertOrGet(storage.installations, { _id: keys.installation, tenantId: PLATFORM, id: randomUUID(), createdAt: clock.now() })

/** The position of this storage. */
export const markOf = ({ id, count }: Installation): StorageMark => ({ id, count: count ?? 0 })
