/**
 * `npm run migrate`: brings storage to what this version expects. It may be run while control planes serve, again, and
 * after it was cut off: it does what is left.
 */
import { ConfigError, readConfig } from '../common/config.ts'
import { createLog } from '../common/log.ts'
import { runCommand } from '../common/process.ts'
import { connectMongo, databaseOf } from './storage/mongo/connect.ts'
import { buildIndexes, lookAtIndexes } from './storage/mongo/indexes.ts'

const say = (line: string) => process.stdout.write(`${line}\n`)

const run = async () => {
  const config = readConfig()
  if (!config.MONGODB_URL) throw new ConfigError('MONGODB_URL must be set: SQLite is brought up to date by every start.')
  const connection = await connectMongo(config.MONGODB_URL, createLog(config.LOG_LEVEL), { endless: true })
  try {
    const database = databaseOf(connection)
    const reports = await lookAtIndexes(database)
    const toBuild = reports.filter(({ missing }) => missing.length > 0)
    for (const [n, report] of toBuild.entries()) {
      say(`${n + 1} of ${toBuild.length}: ${report.collection}, ${report.missing.length} indexes: ${report.missing.map(({ name }) => name).join(', ')}`)
      await buildIndexes(database, report)
    }
    for (const { collection, surplus } of reports) for (const name of surplus) say(`not used by this version, left as it is: ${collection}: ${name}`)
    say(toBuild.length === 0 ? 'every index is there' : 'every index is built')
  } finally {
    await connection.close()
  }
}

await runCommand(run)
