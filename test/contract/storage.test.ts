import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test from 'ava'
import mongoose from 'mongoose'
import { systemClock } from '../../common/clock.ts'
import { createLog } from '../../common/log.ts'
import { Secret } from '../../common/secret.ts'
import type { CollectionName } from '../../control-plane/schemas/index.ts'
import { collectionNames, declaredIndexes } from '../../control-plane/storage/documents.ts'
import { createMongoStorage } from '../../control-plane/storage/mongo/storage.ts'
import { createSqliteStorage } from '../../control-plane/storage/sqlite.ts'
import { mongodbMissing, mongodbUrl } from '../support/mongodb.ts'
import { testStorage } from './storage.ts'

const clock = systemClock
const log = createLog('silent')

testStorage(test, {
  name: 'SQLite',
  open: async () => {
    const folder = await mkdtemp(join(tmpdir(), 'tollgate-'))
    const path = join(folder, 'store.sqlite')
    const [a, b] = [createSqliteStorage({ path, clock }), createSqliteStorage({ path, clock })]
    const database = new DatabaseSync(path, { timeout: 5_000 })
    const readStored = async (collection: CollectionName, id: string) => {
      const row = database.prepare(`SELECT document FROM ${collection} WHERE id = ?`).get(id)
      return JSON.parse(String(row?.document)) as Record<string, unknown>
    }
    return {
      a,
      b,
      openWith: async (migrations) => createSqliteStorage({ path, clock, migrations }),
      readStored,
      editStored: async (collection, id, edit) => {
        const edited = JSON.stringify(edit(await readStored(collection, id)))
        database.prepare(`UPDATE ${collection} SET document = ? WHERE id = ?`).run(edited, id)
      },
      close: async () => {
        database.close()
        await Promise.all([a.close(), b.close()])
        await rm(folder, { recursive: true })
      },
    }
  },
})

testStorage(
  test,
  mongodbMissing
    ? { name: 'MongoDB', missing: mongodbMissing }
    : {
        name: 'MongoDB',
        open: async () => {
          const url = mongodbUrl()
          const a = await createMongoStorage({ url: new Secret(url), clock, log })
          const b = await createMongoStorage({ url: new Secret(url), clock, log })
          const client = await mongoose.createConnection(url).asPromise()
          const raw = (collection: CollectionName) => client.collection<{ _id: string }>(collection)
          return {
            a,
            b,
            openWith: (migrations) => createMongoStorage({ url: new Secret(url), clock, log, migrations }),
            readStored: async (collection, id) => (await raw(collection).findOne({ _id: id })) ?? {},
            editStored: async (collection, id, edit) => {
              const stored = await raw(collection).findOne({ _id: id })
              await raw(collection).replaceOne({ _id: id }, edit(stored ?? {}))
            },
            close: async () => void (await Promise.all([a.close(), b.close(), client.close()])),
          }
        },
      },
)

test('SQLite: every index that a schema declares is an index of the file, and queries use it', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'tollgate-'))
  const path = join(folder, 'store.sqlite')
  await createSqliteStorage({ path, clock }).close()
  const database = new DatabaseSync(path)
  for (const name of collectionNames) {
    const found = database.prepare('SELECT name FROM sqlite_master WHERE type = ? AND tbl_name = ?').all('index', name)
    for (const index of declaredIndexes(name))
      t.true(
        found.some((row) => row.name === `${name}_${index.name}`),
        `${name}: ${index.name}`,
      )
  }
  const plan = (sql: string) =>
    database
      .prepare(`EXPLAIN QUERY PLAN ${sql}`)
      .all()
      .map((row) => String(row.detail))
  const field = (name: string) => `json_extract(document, '$.${name}')`
  const page = `SELECT document FROM customers WHERE ${field('tenantId')} = 't' AND ${field('storefrontId')} = 's' AND (${field('createdAt')}, id) > ('x', 'y') ORDER BY ${field('createdAt')}, id LIMIT 5`
  const due = `SELECT document FROM subscriptions WHERE ${field('clock')} = 'system' AND ${field('dueAt')} <= 'x' ORDER BY ${field('dueAt')}, id LIMIT 5`
  t.regex(plan(page).join('\n'), /^SEARCH customers USING INDEX customers_tenantId_storefrontId_createdAt__id/)
  t.regex(plan(due).join('\n'), /^SEARCH subscriptions USING INDEX subscriptions_clock_dueAt__id_only/)
  t.false(
    [...plan(page), ...plan(due)].some((detail) => detail.includes('TEMP B-TREE')),
    'the index gives the order too',
  )
  database.close()
  await rm(folder, { recursive: true })
})
