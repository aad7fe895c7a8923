/**
 * `npm run audit:verify [-- TENANT …] [-- --expect TENANT@SEQ:HASH …]`: reads audit logs whole and says what was changed, taken out or
 * put in between. What it prints of each tenant, kept elsewhere and given back by `--expect`, proves that nothing up to there has been
 * changed since, not even by somebody who may write to the database and computes every hash anew.
 */
import { parseArgs } from 'node:util'
import { systemClock } from '../common/clock.ts'
import { ConfigError, readConfig } from '../common/config.ts'
import { createLog } from '../common/log.ts'
import { runCommand } from '../common/process.ts'
import { verifyChain } from './audit/verify.ts'
import { openStorage } from './compose.ts'
import { PLATFORM } from './keys.ts'
import { all } from './storage/every.ts'

const expectation = (text: string): [tenantId: string, at: { seq: number; hash: string }] => {
  const [, tenantId, seq, hash] = /^(.+)@(\d+):([0-9a-f]{64})$/.exec(text) ?? []
  if (tenantId === undefined || hash === undefined) throw new ConfigError('--expect takes what an earlier run printed: TENANT@SEQ:HASH')
  return [tenantId, { seq: Number(seq), hash }]
}

const run = async () => {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { expect: { type: 'string', multiple: true, default: [] } } })
  const expected = new Map(values.expect.map(expectation))
  const config = readConfig()
  await using opened = new AsyncDisposableStack()
  const storage = await openStorage(config, systemClock, createLog(config.LOG_LEVEL))
  opened.defer(storage.close)
  // Those of tenants that were ended are asked for by name.
  const named = positionals.length > 0 ? positionals : [...expected.keys()]
  const tenants = named.length > 0 ? named : [PLATFORM, ...(await all(storage.tenants, {})).map(({ tenantId }) => tenantId)]
  let wrong = 0
  for (const tenantId of tenants) {
    const { blocks, head, problems } = await verifyChain(storage, tenantId, systemClock.now(), expected.get(tenantId))
    wrong += problems.length
    for (const problem of problems) process.stdout.write(`${tenantId}: ${problem}\n`)
    process.stdout.write(head ? `${tenantId}@${head.seq}:${head.hash} ${blocks} blocks\n` : `${tenantId} has no audit log\n`)
  }
  if (wrong > 0) throw new Error('the audit log is not what was written')
}

await runCommand(run)
