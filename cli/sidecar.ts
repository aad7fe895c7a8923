/** A sidecar to ask from the command line: at HOST:GRPC_PORT or GRPC_SOCKET, with CALLER_KEY if it wants one. */
import { credentials, Metadata } from '@grpc/grpc-js'
import { ConfigError, readConfig } from '../common/config.ts'
import {
  type CheckEntitlementRequest,
  type CheckEntitlementResponse,
  EntitlementServiceClient,
  type ExplainEntitlementRequest,
  type ExplainEntitlementResponse,
} from '../proto/gen/entitlement/v1/entitlement.ts'

const DEADLINE_MS = 5_000

export interface SidecarToAsk {
  /** @throws ConfigError when it does not answer. */
  check(request: CheckEntitlementRequest): Promise<CheckEntitlementResponse>
  /** @throws ConfigError when it, or a control plane behind it, does not answer. */
  explain(request: ExplainEntitlementRequest): Promise<ExplainEntitlementResponse>
  close(): void
}

export const sidecarToAsk = (): SidecarToAsk => {
  const { HOST, GRPC_PORT, GRPC_SOCKET, CALLER_KEY } = readConfig()
  const address = GRPC_SOCKET === undefined ? `${HOST}:${GRPC_PORT}` : `unix:${GRPC_SOCKET}`
  const client = new EntitlementServiceClient(address, credentials.createInsecure())
  const metadata = new Metadata()
  if (CALLER_KEY !== undefined) metadata.set('authorization', `Bearer ${CALLER_KEY}`)
  const options = () => ({ deadline: Date.now() + DEADLINE_MS })
  const told = <T>(act: (done: (error: { details: string } | null, answer: T) => void) => void): Promise<T> =>
    new Promise((resolve, reject) => {
      act((error, answer) => {
        if (error) reject(new ConfigError(`the sidecar at ${address} did not answer the question: ${error.details}`))
        else resolve(answer)
      })
    })
  return {
    check: (request) => told((done) => client.checkEntitlement(request, metadata, options(), done)),
    explain: (request) => told((done) => client.explainEntitlement(request, metadata, options(), done)),
    close: () => client.close(),
  }
}
