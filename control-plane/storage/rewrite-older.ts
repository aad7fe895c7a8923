/**
 * Rewrites documents that are still stored in an older form. Reading brings each up to date anyway; once all are
 * rewritten, the code that reads the older form can go. What is left is done by a later run: how far one has come is stored.
 */
import { Umzug } from 'umzug'
import type { Clock } from '../../common/clock.ts'
import { isAppError } from '../../common/errors.ts'
import { keys, PLATFORM } from '../keys.ts'
import type { CollectionName } from '../schemas/index.ts'
import { type DocumentMigration, documentMigrations, schemaVersionOf } from '../schemas/migrations.ts'
import { collectionNames } from './documents.ts'
import { every } from './every.ts'
import { type Collection, MAX_PAGE, type Storage, type StoredDocument } from './storage.ts'
import { insertOrGet, update } from './update.ts'

export interface RewriteOptions {
  storage: Storage
  clock: Clock
  /** Told after each page of documents. */
  say: (line: string) => void
  /** Begins finished tasks again: an older control plane may have written since. */
  again?: boolean
  migrations?: readonly DocumentMigration[]
}

/** @returns the names of the tasks that were done. */
export const rewriteOlder = async (options: RewriteOptions): Promise<string[]> => {
  const { storage, clock, again = false, migrations = documentMigrations } = options
  const records = storage.migrationRecords
  const tasks = collectionNames
    .map((collection) => ({ collection, version: schemaVersionOf(collection, migrations) }))
    .filter(({ version }) => version > 1)
    .map(({ collection, version }) => ({
      name: `${collection} to version ${version}`,
      up: ({ name }: { name: string }) => rewriteCollection(options, name, collection, version),
    }))
  const umzug = new Umzug({
    migrations: tasks,
    logger: undefined,
    storage: {
      executed: async () => {
        const names: string[] = []
        for await (const { name, finishedAt } of every(records, { tenantId: PLATFORM })) if (finishedAt) names.push(name)
        return names
      },
      logMigration: async ({ name }) => void (await update(records, keys.migrationRecord(name), (record) => ({ ...record, finishedAt: clock.now() }))),
      unlogMigration: async () => {},
    },
  })
  if (again)
    for (const { name } of await umzug.executed())
      await update(records, keys.migrationRecord(name), ({ after: _, finishedAt: __, ...record }) => ({ ...record, rewritten: 0 }))
  return (await umzug.up()).map(({ name }) => name)
}

const rewriteCollection = async (
  { storage, clock, say, migrations = documentMigrations }: RewriteOptions,
  name: string,
  collectionName: CollectionName,
  version: number,
): Promise<void> => {
  const collection = storage[collectionName] as unknown as Collection<StoredDocument>
  const titles = migrations.filter((migration) => migration.collection === collectionName).map(({ to, title }) => `${to}: ${title}`)
  say(`${name} (${titles.join('; ')})`)
  let record = await insertOrGet(storage.migrationRecords, {
    _id: keys.migrationRecord(name),
    tenantId: PLATFORM,
    name,
    rewritten: 0,
    createdAt: clock.now(),
  })
  for (;;) {
    const page = await collection.scan({ ...(record.after ? { after: record.after } : {}), limit: MAX_PAGE })
    const last = page.at(-1)
    if (!last) return
    const older = page.filter((document) => isOlder(document, version))
    for (const document of older) await rewrite(collection, document, version)
    record = await update(
      storage.migrationRecords,
      record._id,
      (latest) => ({ ...latest, after: last._id, rewritten: latest.rewritten + older.length }),
      record,
    )
    say(`${name}: ${record.rewritten} rewritten so far`)
  }
}

const isOlder = ({ schemaVersion }: StoredDocument, version: number): boolean => (schemaVersion ?? 1) < version

const rewrite = async (collection: Collection<StoredDocument>, document: StoredDocument, version: number): Promise<void> => {
  try {
    await update(collection, document._id, (latest) => (isOlder(latest, version) ? latest : undefined), document)
  } catch (error) {
    // It is gone, or a newer version has it by now.
    if (!isAppError(error, 'not_found', 'newer_version')) throw error
  }
}
