/**
 * `npm run audit:verify [-- TENANT …] [-- --expect TENANT@SEQ:HASH …]`: reads audit logs whole and says what was changed, taken out or
 * put in between. What it prints of each tenant, kept elsewhere and given back by `--expect`, proves that nothing up to there has been
 * changed since, not even by somebody who may write to the database and computes every hash anew.
 */
import { existsSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { systemClock } from '../common/clock.ts'
import { ConfigError, readConfig, sqliteFileOf } from '../common/config.ts'
import { createLog } from '../common/log.ts'
import { runCommand } from '../common/process.ts'
import { verifyChain } from './audit/verify.ts'
import { openStorage } from './compose.ts'
import { PLATFORM } from './keys.ts'
import { all } from './storage/every.ts'

const expectation = (text: string): [tenantId: string, at: { seq: number; hash: string }] => {
  const [, tenantId, seq, hash] = /^(.+)@(\d+):([0-9a-f]{64})( .*)?$/.exec(text) ?? []
  if (tenantId === undefined || hash === undefined)
    throw new ConfigError('--expect must be what an earlier run printed: TENANT@SEQ:HASH, where HASH has 64 hexadecimal digits')
  return [tenantId, { seq: Number(seq), hash }]
}

const USAGE = `usage: npm run audit:verify -- [TENANT]... [--expect TENANT@SEQ:HASH]...
Verifies all tenants and * (entries that belong to no tenant), or only those that you name. --expect takes what an earlier run printed.`

const readArgs = () => {
  try {
    return parseArgs({ allowPositionals: true, options: { expect: { type: 'string', multiple: true, default: [] } } })
  } catch {
    throw new ConfigError(USAGE)
  }
}

const run = async () => {
  const { values, positionals } = readArgs()
  const expected = new Map(values.expect.map(expectation))
  const config = readConfig()
  if (!config.MONGODB_URL && !existsSync(sqliteFileOf(config))) throw new ConfigError(`DATA_DIR: there is no ${sqliteFileOf(config)} to verify`)
  await using opened = new AsyncDisposableStack()
  const storage = await openStorage(config, systemClock, createLog(config.LOG_LEVEL))
  opened.defer(storage.close)
  const named = positionals.length > 0 ? positionals : []
  const tenants =
    named.length > 0 ? [...new Set([...named, ...expected.keys()])] : [PLATFORM, ...(await all(storage.tenants, {})).map(({ tenantId }) => tenantId)]
  let wrong = 0
  for (const tenantId of tenants) {
    const { blocks, head, problems } = await verifyChain(storage, tenantId, systemClock.now(), expected.get(tenantId))
    wrong += problems.length
    for (const problem of problems) process.stdout.write(`${tenantId}: ${problem}\n`)
    if (head) process.stdout.write(`${tenantId}@${head.seq}:${head.hash} ${problems.length === 0 ? 'unchanged, ' : ''}${blocks} blocks\n`)
    else if (named.length > 0) {
      wrong += 1
      process.stdout.write(`${tenantId} has no audit log: check the tenant's id\n`)
    }
  }
  if (wrong > 0) throw new Error('the audit log was changed after it was written')
}

await runCommand(run)
