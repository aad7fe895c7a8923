/** `npm run check -- <tenant> <storefront> <customer> <entitlement> [amount]`: asks a sidecar, and says the answer as a person wants to read it. */
import { credentials, Metadata } from '@grpc/grpc-js'
import { ConfigError, readConfig } from '../common/config.ts'
import { type CheckEntitlementResponse, EntitlementServiceClient } from '../proto/gen/entitlement/v1/entitlement.ts'
import { describeAnswer } from './describe-answer.ts'

const DEADLINE_MS = 5_000

const run = async (): Promise<void> => {
  const [tenantId, storefrontId, customerId, entitlement, amount = '1', ...rest] = process.argv.slice(2)
  if (amount !== undefined && !/^\d{1,15}$/.test(amount)) throw new ConfigError(`amount must be a whole number from 0, and is ${JSON.stringify(amount)}`)
  if (!tenantId || !storefrontId || !customerId || !entitlement || rest.length > 0) {
    throw new ConfigError(
      'usage: npm run check -- <tenant> <storefront> <customer> <entitlement> [amount]\nThe sidecar is the one at HOST:GRPC_PORT, by default 127.0.0.1:50051.',
    )
  }
  const { HOST, GRPC_PORT } = readConfig()
  const address = `${HOST}:${GRPC_PORT}`
  const client = new EntitlementServiceClient(address, credentials.createInsecure())
  const request = { tenantId, storefrontId, customerId, entitlement, amount: BigInt(amount), minRevision: 0n }
  const answer = await new Promise<CheckEntitlementResponse>((resolve, reject) => {
    client.checkEntitlement(request, new Metadata(), { deadline: Date.now() + DEADLINE_MS }, (error, response) => {
      if (error) reject(new ConfigError(`the sidecar at ${address} did not answer the question: ${error.details}`))
      else resolve(response)
    })
  })
  client.close()
  process.stdout.write(`${describeAnswer(answer)}\n`)
  // As test(1) does, so that scripts can ask.
  process.exitCode = answer.allowed ? 0 : 1
}

try {
  await run()
} catch (error) {
  process.stderr.write(`${error instanceof ConfigError ? error.message : error instanceof Error ? error.stack : String(error)}\n`)
  process.exit(2)
}
