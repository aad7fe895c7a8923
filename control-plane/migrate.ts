/**
 * `npm run migrate`: brings storage to what this version expects: indexes, and documents that are still in an older form.
 * It may be run while control planes serve, again, and after it was cut off: it does what is left. `--again` looks at
 * every document once more: for when an older control plane was still writing.
 */
import { existsSync } from 'node:fs'
import { systemClock } from '../common/clock.ts'
import { ConfigError, readConfig, sqliteFileOf } from '../common/config.ts'
import { createLog, type Log } from '../common/log.ts'
import { runCommand } from '../common/process.ts'
import type { Secret } from '../common/secret.ts'
import { openStorage } from './compose.ts'
import { connectMongo, databaseOf } from './storage/mongo/connect.ts'
import { buildIndexes, lookAtIndexes } from './storage/mongo/indexes.ts'
import { rewriteOlder } from './storage/rewrite-older.ts'

const say = (line: string) => process.stdout.write(`${line}\n`)

/** SQLite needs none of it: every start builds its indexes. */
const buildMongoIndexes = async (url: Secret, log: Log): Promise<void> => {
  const connection = await connectMongo(url, log, { endless: true })
  try {
    const database = databaseOf(connection)
    const reports = await lookAtIndexes(database)
    const toBuild = reports.filter(({ missing }) => missing.length > 0)
    for (const [n, report] of toBuild.entries()) {
      say(`${n + 1} of ${toBuild.length}: ${report.collection}, ${report.missing.length} indexes: ${report.missing.map(({ name }) => name).join(', ')}`)
      await buildIndexes(database, report)
    }
    for (const { collection, surplus } of reports) for (const name of surplus) say(`not used by this version, and not changed: ${collection}: ${name}`)
    say(toBuild.length === 0 ? 'every index exists' : 'every index is built')
  } finally {
    await connection.close()
  }
}

const run = async () => {
  const [option, ...others] = process.argv.slice(2)
  if (others.length > 0 || (option !== undefined && option !== '--again')) throw new ConfigError('the only option is --again: npm run migrate -- --again')
  const config = readConfig()
  const log = createLog(config.LOG_LEVEL)
  if (config.MONGODB_URL) await buildMongoIndexes(config.MONGODB_URL, log)
  // Opening would make one, and report that there is nothing to do.
  else if (!existsSync(sqliteFileOf(config))) throw new ConfigError(`there is no file ${sqliteFileOf(config)}: set DATA_DIR to the folder that npm start uses`)
  const storage = await openStorage(config, systemClock, log)
  try {
    const done = await rewriteOlder({ storage, clock: systemClock, say, again: option === '--again' })
    say(done.length === 0 ? 'no documents to rewrite' : `done: ${done.join(', ')}`)
  } finally {
    await storage.close()
  }
}

await runCommand(run)
