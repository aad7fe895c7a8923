/** Two storages on the same data, as two processes have them: of each kind. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../common/clock.ts'
import { createLog } from '../../common/log.ts'
import { Secret } from '../../common/secret.ts'
import { createMongoStorage } from '../../control-plane/storage/mongo/storage.ts'
import { createSqliteStorage } from '../../control-plane/storage/sqlite.ts'
import type { Storage } from '../../control-plane/storage/storage.ts'
import { mongodbUrl } from './mongodb.ts'

export interface Stores {
  a: Storage
  b: Storage
  close(): Promise<void>
}

export const sqlite = async (): Promise<Stores> => {
  const folder = await mkdtemp(join(tmpdir(), 'tollgate-'))
  const path = join(folder, 'store.sqlite')
  const [a, b] = [createSqliteStorage({ path, clock: systemClock }), createSqliteStorage({ path, clock: systemClock })]
  return {
    a,
    b,
    close: async () => {
      await Promise.all([a.close(), b.close()])
      await rm(folder, { recursive: true })
    },
  }
}

export const mongodb = async (): Promise<Stores> => {
  const open = { url: new Secret(mongodbUrl()), clock: systemClock, log: createLog('silent') }
  const [a, b] = [await createMongoStorage(open), await createMongoStorage(open)]
  return { a, b, close: async () => void (await Promise.all([a.close(), b.close()])) }
}
