/** A sidecar to ask from the command line: at HOST:GRPC_PORT or GRPC_SOCKET, with what the CALLER_ variables say. */
import { readFileSync } from 'node:fs'
import { type ChannelCredentials, credentials, Metadata, type ServiceError, status as Status } from '@grpc/grpc-js'
import { type Config, ConfigError, readConfig } from '../common/config.ts'
import { warnOfMisspelt } from '../common/process.ts'
import {
  type CheckEntitlementRequest,
  type CheckEntitlementResponse,
  type ConsumeEntitlementResponse,
  EntitlementServiceClient,
  type ExplainEntitlementRequest,
  type ExplainEntitlementResponse,
} from '../proto/gen/entitlement/v1/entitlement.ts'

const DEADLINE_MS = 5_000

export interface SidecarToAsk {
  /** @throws ConfigError when it does not answer. */
  check(request: CheckEntitlementRequest): Promise<CheckEntitlementResponse>
  /** As a check, and counts the use. @throws ConfigError when it does not answer, or refuses to count. */
  consume(request: CheckEntitlementRequest): Promise<ConsumeEntitlementResponse>
  /** @throws ConfigError when it, or a control plane behind it, does not answer. */
  explain(request: ExplainEntitlementRequest): Promise<ExplainEntitlementResponse>
  close(): void
}

const read = (variable: string, path: string): Buffer => {
  try {
    return readFileSync(path)
  } catch (error) {
    throw new ConfigError(`${variable}: ${path} cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
}

/** Plaintext without a CA; with one, TLS, and a certificate if there is one to show. @throws ConfigError */
const credentialsOf = ({ CALLER_TLS_CA_FILE: ca, CALLER_TLS_CERT_FILE: cert, CALLER_TLS_KEY_FILE: key }: Config): ChannelCredentials => {
  if ((cert === undefined) !== (key === undefined)) throw new ConfigError('CALLER_TLS_CERT_FILE and CALLER_TLS_KEY_FILE must be set together')
  if (ca === undefined) {
    if (cert !== undefined) throw new ConfigError("CALLER_TLS_CERT_FILE needs CALLER_TLS_CA_FILE: set it to the sidecar's CA")
    return credentials.createInsecure()
  }
  const trusted = read('CALLER_TLS_CA_FILE', ca)
  try {
    if (cert === undefined || key === undefined) return credentials.createSsl(trusted)
    return credentials.createSsl(trusted, read('CALLER_TLS_KEY_FILE', key), read('CALLER_TLS_CERT_FILE', cert))
  } catch (error) {
    if (error instanceof ConfigError) throw error
    throw new ConfigError(`the files named by CALLER_TLS_… cannot be used: ${(error as Error).message}`)
  }
}

const whatFailed = ({ code, details }: ServiceError, { CALLER_TLS_CA_FILE: ca, CALLER_TLS_CERT_FILE: cert, CALLER_KEY: key }: Config): string => {
  if (code === Status.UNAUTHENTICATED) return `${details}; ${key === undefined ? 'set CALLER_KEY to one of its keys' : 'CALLER_KEY is not one of its keys'}`
  if (code !== Status.UNAVAILABLE || !details.startsWith('No connection established')) return details
  if (/ECONNREFUSED|ENOENT/.test(details)) return 'nothing listens there. Start one with npm start, or set HOST and GRPC_PORT, or GRPC_SOCKET, to its address'
  const trust = ca === undefined ? 'set CALLER_TLS_CA_FILE to its CA' : 'CALLER_TLS_CA_FILE must be its CA'
  const shown =
    cert === undefined
      ? '; if it requires a client certificate, also set CALLER_TLS_CERT_FILE and CALLER_TLS_KEY_FILE'
      : ', and CALLER_TLS_CERT_FILE must be signed by the CA that it trusts'
  return `could not connect. If it serves TLS, ${trust}${shown}`
}

/** @throws ConfigError when the environment is wrong. */
export const sidecarToAsk = (): SidecarToAsk => {
  warnOfMisspelt()
  const config = readConfig()
  const { HOST, GRPC_PORT, GRPC_SOCKET, CALLER_KEY } = config
  const address = GRPC_SOCKET === undefined ? `${HOST}:${GRPC_PORT}` : `unix:${GRPC_SOCKET}`
  const client = new EntitlementServiceClient(address, credentialsOf(config))
  const metadata = new Metadata()
  if (CALLER_KEY !== undefined) metadata.set('authorization', `Bearer ${CALLER_KEY.reveal()}`)
  const options = () => ({ deadline: Date.now() + DEADLINE_MS })
  const told = <T>(act: (done: (error: ServiceError | null, answer: T) => void) => void): Promise<T> =>
    new Promise((resolve, reject) => {
      act((error, answer) => {
        if (error) reject(new ConfigError(`the sidecar at ${address} did not answer: ${whatFailed(error, config)}`))
        else resolve(answer)
      })
    })
  return {
    check: (request) => told((done) => client.checkEntitlement(request, metadata, options(), done)),
    consume: (request) => told((done) => client.consumeEntitlement({ ...request, idempotencyKey: '', holder: '', ttl: undefined }, metadata, options(), done)),
    explain: (request) => told((done) => client.explainEntitlement(request, metadata, options(), done)),
    close: () => client.close(),
  }
}
