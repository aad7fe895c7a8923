/**
 * `npm run check -- [--explain | --consume] <tenant> <storefront> <customer> <entitlement> [amount]`: asks a sidecar, and says the
 * answer as a person wants to read it; with `--explain` also what is behind it. `--consume` counts the use as well.
 */
import { parseArgs } from 'node:util'
import { ConfigError } from '../common/config.ts'
import { describeAnswer, describeExplanation } from './describe-answer.ts'
import { sidecarToAsk } from './sidecar.ts'

const USAGE =
  'usage: npm run check -- [--explain | --consume] <tenant> <storefront> <customer> <entitlement> [amount]\n--explain says what is behind the answer; --consume counts the use if it is allowed.\nAsks the sidecar at HOST:GRPC_PORT (127.0.0.1:50051) or GRPC_SOCKET. If it has SIDECAR_KEYS, set CALLER_KEY to one of them.\nIf it serves TLS, set CALLER_TLS_CA_FILE to its CA; for mTLS, also set CALLER_TLS_CERT_FILE and CALLER_TLS_KEY_FILE.'

const readArgs = () => {
  try {
    return parseArgs({ allowPositionals: true, options: { explain: { type: 'boolean', default: false }, consume: { type: 'boolean', default: false } } })
  } catch (error) {
    throw new ConfigError(`${(error as Error).message}\n${USAGE}`)
  }
}

const run = async (): Promise<void> => {
  const { values, positionals } = readArgs()
  const [tenantId, storefrontId, customerId, entitlement, amount = '1', ...rest] = positionals
  if (!/^\d{1,15}$/.test(amount)) throw new ConfigError(`amount must be a whole number, 0 or more, but is ${JSON.stringify(amount)}`)
  if (!tenantId || !storefrontId || !customerId || !entitlement || rest.length > 0 || (values.explain && values.consume)) throw new ConfigError(USAGE)
  const sidecar = sidecarToAsk()
  try {
    const request = { tenantId, storefrontId, customerId, entitlement, amount: BigInt(amount), minRevision: 0n }
    const explained = values.explain ? await sidecar.explain(request) : undefined
    const consumed = values.consume ? await sidecar.consume(request) : undefined
    const answer = explained?.decision ?? consumed?.decision ?? (await sidecar.check(request))
    const counted = consumed ? `  counted    ${consumed.counted ? 'yes' : 'no'}\n` : ''
    process.stdout.write(`${describeAnswer(answer)}\n${counted}${explained ? `${describeExplanation(explained)}\n` : ''}`)
    // The exit status is that of test(1), so that scripts can use it.
    process.exitCode = answer.allowed ? 0 : 1
  } finally {
    sidecar.close()
  }
}

try {
  await run()
} catch (error) {
  process.stderr.write(`${error instanceof ConfigError ? error.message : error instanceof Error ? error.stack : String(error)}\n`)
  process.exit(2)
}
