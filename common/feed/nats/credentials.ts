/**
 * Reads the credentials of this process at NATS, and the CA that it trusts there, from the files that NATS_CREDS and the TLS
 * variables name. No error ever contains any content of these files.
 */
import { readFileSync } from 'node:fs'
import { type Authenticator, jwtAuthenticator, nkeyAuthenticator, nkeys, type TlsOptions } from '@nats-io/transport-node'
import { type Config, ConfigError } from '../../config.ts'

export interface NatsAccess {
  /** NATS_CREDS: an NKey's seed, or a JWT with its seed as `nsc` writes them. */
  credentialsFile?: string | undefined
  /** NATS_CA_FILE, NATS_CERT_FILE, NATS_KEY_FILE: PEM. */
  caFile?: string | undefined
  certFile?: string | undefined
  keyFile?: string | undefined
  /** NATS_API_PREFIX: where JetStream is asked; `$JS.API` without. */
  apiPrefix?: string | undefined
}

export interface NatsIdentity {
  /** The public half of its NKey: `U` and 55 more characters. */
  publicKey: string
  authenticator: Authenticator
}

const SEED = /^SU[A-Z2-7]{56}$/
/** https://docs.nats.io/using-nats/developer/connecting/creds */
const JWT = /-----BEGIN NATS USER JWT-----\s+(\S+)\s+-+END NATS USER JWT-+/

const read = (variable: string, path: string): string => {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new ConfigError(`${variable}: ${path} cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
}

/** The subject of a JWT; undefined if the JWT cannot be read. */
const subjectOf = (jwt: string): unknown => {
  try {
    return JSON.parse(Buffer.from(jwt.split('.')[1] ?? '', 'base64url').toString()).sub
  } catch {
    return undefined
  }
}

/** @throws ConfigError. */
const parse = (path: string): { publicKey: string; seed: Uint8Array; jwt: string | undefined } => {
  const text = read('NATS_CREDS', path)
  const line = text.split('\n').find((one) => SEED.test(one.trim()))
  const jwt = JWT.exec(text)?.[1]
  let publicKey: string | undefined
  const seed = Buffer.from(line?.trim() ?? '')
  try {
    publicKey = nkeys.fromSeed(seed).getPublicKey()
  } catch {
    // Said below, without what is there.
  }
  if (publicKey === undefined)
    throw new ConfigError(`NATS_CREDS: ${path} contains no NKey seed of a user (SU…); npm run nats:config writes one, and nsc writes one with a JWT`)
  if (jwt !== undefined && subjectOf(jwt) !== publicKey) throw new ConfigError(`NATS_CREDS: in ${path}, the JWT and the seed belong to different users`)
  return { publicKey, seed, jwt }
}

/**
 * The file is read again at every connection, so that a JWT may be renewed in its place; while it cannot be used, what was
 * read last is.
 * @throws ConfigError when it cannot be used now.
 */
export const readIdentity = (path: string): NatsIdentity => {
  let last = parse(path)
  const { publicKey } = last
  return {
    publicKey,
    authenticator: (nonce) => {
      try {
        const now = parse(path)
        // Another user would be answered elsewhere than this process listens.
        if (now.publicKey === publicKey) last = now
      } catch {
        // It is being written, say.
      }
      return last.jwt === undefined ? nkeyAuthenticator(last.seed)(nonce) : jwtAuthenticator(last.jwt, last.seed)(nonce)
    },
  }
}

/** Undefined where nothing asks for TLS. The files are read again at every connection. @throws ConfigError. */
export const tlsOf = ({ caFile, certFile, keyFile }: NatsAccess): TlsOptions | undefined => {
  if ((certFile === undefined) !== (keyFile === undefined)) throw new ConfigError('NATS_CERT_FILE and NATS_KEY_FILE must be set together')
  const files = { NATS_CA_FILE: caFile, NATS_CERT_FILE: certFile, NATS_KEY_FILE: keyFile }
  for (const [variable, path] of Object.entries(files))
    if (path !== undefined && !read(variable, path).includes('-----BEGIN ')) throw new ConfigError(`${variable}: ${path} is not PEM`)
  if (caFile === undefined && certFile === undefined) return undefined
  return { ...(caFile ? { caFile } : {}), ...(certFile && keyFile ? { certFile, keyFile } : {}) }
}

type NatsVariables = Pick<Config, 'NATS_URL' | 'NATS_CREDS' | 'NATS_CA_FILE' | 'NATS_CERT_FILE' | 'NATS_KEY_FILE' | 'NATS_API_PREFIX'>

/** @throws ConfigError when what the variables name cannot be used: at the start, not at some later connection. */
export const natsAccessOf = ({ NATS_URL: url, NATS_CREDS: credentialsFile, ...files }: NatsVariables): NatsAccess => {
  if (
    credentialsFile !== undefined &&
    url
      ?.reveal()
      .split(',')
      .some((one) => new URL(one).username !== '')
  )
    throw new ConfigError('NATS_CREDS is set, and NATS_URL names a user too; use only one of them')
  const { NATS_CA_FILE: caFile, NATS_CERT_FILE: certFile, NATS_KEY_FILE: keyFile, NATS_API_PREFIX: apiPrefix } = files
  const access = { credentialsFile, caFile, certFile, keyFile, apiPrefix }
  if (credentialsFile !== undefined) readIdentity(credentialsFile)
  tlsOf(access)
  return access
}
