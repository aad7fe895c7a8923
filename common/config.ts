/**
 * The one place that reads environment variables. It reports every bad variable at once, by name, with what
 * was expected; it never prints a value, since some are secrets.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { distance } from 'fastest-levenshtein'
import { awayPolicy } from './entitlements/away-policy.ts'
import { stalenessPolicy } from './entitlements/staleness-policy.ts'
import { isMongodbUrl } from './mongodb-url.ts'
import { toSecret } from './secret.ts'
import { z } from './zod.ts'

const yesOrNo = z.enum(['true', 'false'], 'must be true or false').default('false')
const port = (fallback: number) => z.coerce.number().int().min(0).max(65535).default(fallback)
const milliseconds = (fallback: number) => z.coerce.number().int().min(1).default(fallback)
/** A size, as a number of bytes or with KiB, MiB or GiB. */
const bytes = (fallback: number) =>
  z
    .string()
    .regex(/^\d{1,15} ?([KMG]iB)?$/, 'must be a number of bytes, such as 1048576, 256MiB or 1GiB')
    .transform((text) => Number.parseInt(text, 10) * 1024 ** ['', 'K', 'M', 'G'].indexOf(/([KMG])iB$/.exec(text)?.[1] ?? ''))
    .refine((count) => count >= 1024 * 1024 && count <= 4 * 1024 ** 3, 'must be between 1MiB and 4GiB')
    .default(fallback)
const share = (fallback: number) => z.coerce.number('must be a number from 0 to 1').min(0).max(1).default(fallback)
const json = <T extends z.ZodType>(schema: T, expected: string) =>
  z.string().transform((text, context): z.infer<T> => {
    let parsed: unknown
    try {
      parsed = JSON.parse(text)
    } catch {
      context.addIssue({ code: 'custom', message: expected })
      return z.NEVER
    }
    const read = schema.safeParse(parsed)
    if (read.success) return read.data
    // A record's key that is not right has its reasons within.
    const reasons = read.error.issues.flatMap((issue) => (issue.code === 'invalid_key' ? issue.issues : [issue]).map(({ message }) => message))
    for (const reason of new Set(reasons)) context.addIssue({ code: 'custom', message: `${expected}; ${reason}` })
    return z.NEVER
  })
const url = (...protocols: string[]) =>
  z
    .string()
    .refine(
      (text) => URL.canParse(text) && protocols.includes(new URL(text).protocol),
      `must be a URL that starts with ${protocols.map((p) => `${p}//`).join(' or ')}`,
    )
    .optional()

/** Variables that must not appear in a process list, an image or a log. Each may be in a file, named by the variable with _FILE. */
const secrets = {
  /** One, or two while one is changed for the other. */
  PLATFORM_API_KEY: z
    .string()
    .transform((text) => text.split(','))
    .refine((all) => all.length <= 2, 'must be one key, or two separated by a comma while you change it')
    .refine((all) => all.every((one) => one.length >= 16), 'must have at least 16 characters')
    .refine((all) => all.every((one) => new Set(one).size >= 8), 'is easily guessed; create one with openssl rand -base64 32')
    .transform((all) => all.map(toSecret))
    .optional(),
  CREDENTIALS_KEY: z
    .string()
    .refine(
      (text) => text.split(',').every((key) => Buffer.from(key, 'base64').length === 32),
      'must be 32 bytes in base64 (openssl rand -base64 32), or several separated by commas',
    )
    .transform(toSecret)
    .optional(),
  FEED_SIGNING_KEY: z.string().min(1).transform(toSecret).optional(),
  MONGODB_URL: z
    .string()
    .refine(
      isMongodbUrl,
      'must be a connection string: mongodb://host:27017/database, mongodb://a:27017,b:27017,c:27017/database?replicaSet=name or mongodb+srv://…',
    )
    .transform(toSecret)
    .optional(),
  NATS_URL: z
    .string()
    .refine(
      (text) => text.split(',').every((one) => URL.canParse(one) && ['nats:', 'tls:'].includes(new URL(one).protocol)),
      'must be one or more URLs that start with nats:// or tls://, separated by commas',
    )
    .transform(toSecret)
    .optional(),
  SIDECAR_KEYS: json(
    z.record(z.string().min(16, 'a key must have at least 16 characters'), z.array(z.string().min(1)).min(1)),
    'must be JSON: {"<key>": ["<tenant>", …]}',
  )
    .transform(toSecret)
    .optional(),
  SNAPSHOT_KEY: z
    .string()
    .refine((text) => Buffer.from(text, 'base64').length === 32, 'must be 32 bytes in base64 (openssl rand -base64 32)')
    .transform(toSecret)
    .optional(),
  SIMULATOR_WEBHOOK_SECRET: z
    .string()
    .regex(/^whsec_[A-Za-z0-9+/=]{32,}$/, 'must be whsec_ followed by at least 24 bytes in base64')
    .transform(toSecret)
    .optional(),
  /** The key that our own commands send to a sidecar with SIDECAR_KEYS. */
  CALLER_KEY: z.string().min(1).transform(toSecret).optional(),
}

const environment = z.object({
  ...secrets,
  HOST: z.string().min(1).default('127.0.0.1'),
  HTTP_PORT: port(8080),
  GRPC_PORT: port(50051),
  DATA_DIR: z.string().min(1).default('./data'),
  NATS_BUCKET: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,64}$/, 'must be 1 to 64 letters, digits, _ or -')
    .default('tollgate'),
  /** A file: an NKey's seed, or a JWT with its seed. */
  NATS_CREDS: z.string().min(1).optional(),
  NATS_CA_FILE: z.string().min(1).optional(),
  NATS_CERT_FILE: z.string().min(1).optional(),
  NATS_KEY_FILE: z.string().min(1).optional(),
  /** Where JetStream is asked, for users of an account that imports it. */
  NATS_API_PREFIX: z
    .string()
    .regex(/^[A-Za-z0-9_$-]+(\.[A-Za-z0-9_$-]+)*$/, 'must be a subject without wildcards, such as tollgate.js or $JS.hub.API')
    .optional(),
  NATS_REPLICAS: z.coerce.number().int().min(1).max(5).optional(),
  NATS_PLACEMENT_CLUSTER: z.string().min(1).optional(),
  NATS_PLACEMENT_TAGS: z
    .string()
    .transform((text) => text.split(','))
    .optional(),
  FEED_VERIFY_KEYS: z.string().min(1).optional(),
  SIDECAR_TENANTS: z
    .string()
    .transform((text) => text.split(',').map((one) => one.trim()))
    .refine((ids) => ids.every((id) => id !== ''), 'must be tenant ids, separated by commas')
    .optional(),
  /** `production` makes a start refuse what is unsafe; storage on MongoDB does as well. */
  NODE_ENV: z.string().optional(),
  ALLOW_PLAIN_SECRETS: yesOrNo,
  SIDECAR_OPEN: yesOrNo,
  PUBLIC_URL: url('http:', 'https:'),
  SIMULATOR_PORT: port(8090),
  SIMULATOR_URL: url('http:', 'https:'),
  SIMULATOR_IN_LIVE: yesOrNo,
  PSP_TIMEOUT_MS: milliseconds(10_000),
  STRIPE_URL: url('http:', 'https:'),
  ADYEN_URL: url('http:', 'https:'),
  PAYPAL_URL: url('http:', 'https:'),
  MERCADOPAGO_URL: url('http:', 'https:'),
  LOCAL_PSP_PRIVATE_URLS: yesOrNo,
  OIDC_PRIVATE_URLS: yesOrNo,
  WEBHOOK_PRIVATE_URLS: yesOrNo,
  KEY_REQUESTS_PER_SECOND: z.coerce.number().int().min(1).default(2_000),
  KEY_CONCURRENCY: z.coerce.number().int().min(1).default(256),
  // More than what a body may have, so that each fits.
  KEY_BYTES_PER_SECOND: z.coerce.number().int().min(1_048_576).default(16_777_216),
  OPEN_REQUESTS_PER_SECOND: z.coerce.number().int().min(1).default(2_000),
  WRONG_KEYS_PER_MINUTE: z.coerce.number().int().min(1).default(20),
  // Providers repeat an event for up to a week.
  WEBHOOK_EVENT_DAYS: z.coerce.number().int().min(7).max(3_650).default(30),
  // An event may tell of a use 35 days ago.
  EVENT_STREAM_DAYS: z.coerce.number().int().min(1).max(400).default(7),
  EVENT_DAYS: z.coerce.number().int().min(4).max(400).default(30),
  USAGE_HISTORY_DAYS: z.coerce.number().int().min(35).max(3_650).default(396),
  AUDIT_LOG_DAYS: z.coerce.number().int().min(1).max(36_500).default(2_557),
  TRUSTED_PROXIES: z.coerce.number().int().min(0).max(10).default(0),
  CIRCUIT_FAILURES: z.coerce.number().int().min(1).default(5),
  CIRCUIT_OPEN_MS: milliseconds(30_000),
  WORKER_POLL_MS: milliseconds(1_000),
  CLOCK_MAX_JUMP_HOURS: z.coerce.number().min(1).max(87_600).default(72),
  WORKER_CONCURRENCY: z.coerce.number().int().min(1).max(2_000).default(128),
  CACHE_MAX_BYTES: bytes(256 * 1024 * 1024),
  MAX_STALENESS_MS: milliseconds(60_000),
  GRPC_SOCKET: z.string().min(1).max(100, 'must not be longer than 100 characters: operating systems limit the paths of sockets').optional(),
  TLS_CERT_FILE: z.string().min(1).optional(),
  TLS_KEY_FILE: z.string().min(1).optional(),
  TLS_CLIENT_CA_FILE: z.string().min(1).optional(),
  /** The CA that our own commands trust for a TLS sidecar, and the certificate that they present for mTLS. */
  CALLER_TLS_CA_FILE: z.string().min(1).optional(),
  CALLER_TLS_CERT_FILE: z.string().min(1).optional(),
  CALLER_TLS_KEY_FILE: z.string().min(1).optional(),
  AWAY_POLICY: json(awayPolicy, 'must be JSON: {"default": "deny", "entitlements": {"<key>": "allow"}}').optional(),
  STALENESS_POLICY: json(stalenessPolicy, 'must be JSON: {"default": "serve", "entitlements": {"<key>": "deny"}}').optional(),
  GRPC_REFLECTION: z.enum(['true', 'false'], 'must be true or false').default('true'),
  STALE_HEALTH: z.enum(['serving', 'not_serving'], 'must be serving or not_serving').default('serving'),
  SNAPSHOT_FILE: z.string().min(1).optional(),
  JOURNAL_FILE: z.string().min(1).optional(),
  SNAPSHOT_EVERY_MS: milliseconds(60_000),
  EXT_AUTHZ_RULES_FILE: z.string().min(1).optional(),
  FLAG_TENANT: z.string().min(1).optional(),
  FLAG_STOREFRONT: z.string().min(1).optional(),
  DENIALS_SHARE: share(0),
  DECISION_LOG: z.string().min(1).optional(),
  DECISION_LOG_SHARE: share(1),
  SIDECAR_WORKERS: z.coerce.number().int().min(1).max(64).default(1),
  METRICS_PORT: z.coerce.number().int().min(0).max(65535).optional(),
  SIDECAR_HTTP_PORT: z.coerce.number().int().min(0).max(65535).optional(),
  /** Traces; OpenTelemetry's SDK reads this variable, and the others that begin with OTEL_. */
  OTEL_EXPORTER_OTLP_ENDPOINT: url('http:', 'https:'),
  SIDECAR_TRANSPORT: z.enum(['grpc-js', 'fast'], 'must be grpc-js or fast').default('fast'),
  LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info'),
})

export type Config = z.infer<typeof environment>

export class ConfigError extends Error {}

/** Where storage is, without MONGODB_URL. */
export const sqliteFileOf = ({ DATA_DIR }: Pick<Config, 'DATA_DIR'>): string => join(DATA_DIR, 'tollgate.sqlite')

/** Why a port could not be listened on, in words that name the variable. */
export const cannotListen = (variable: string, port: number, cause: NodeJS.ErrnoException): Error => {
  if (cause.code === 'EADDRINUSE')
    return new ConfigError(`${variable}: port ${port} is in use by another process; set ${variable} to another port, or to 0 for any free port`)
  if (cause.code === 'EACCES') return new ConfigError(`${variable}: this user is not allowed to listen on port ${port}; choose another port`)
  if (cause.code === 'EADDRNOTAVAIL') return new ConfigError('HOST: this machine has no such address; choose one of its own')
  return cause
}

const secretNames = Object.keys(secrets)
/** Every variable that is read. A secret has two: its own, and one that names a file. */
export const knownVariables: readonly string[] = [...Object.keys(environment.shape), ...secretNames.map((name) => `${name}_FILE`)]

/** @param lines takes what is wrong. */
const withSecretFiles = (env: Record<string, string | undefined>, lines: string[]): Record<string, string | undefined> => {
  const read: Record<string, string | undefined> = { ...env }
  for (const name of secretNames) {
    const file = env[`${name}_FILE`]
    if (file === undefined) continue
    if (env[name] !== undefined) lines.push(`  ${name}: is set, and so is ${name}_FILE; set only one of them`)
    try {
      read[name] = readFileSync(file, 'utf8').trim()
      if (read[name] === '') lines.push(`  ${name}_FILE: the file is empty`)
    } catch (error) {
      lines.push(`  ${name}_FILE: cannot be read (${(error as NodeJS.ErrnoException).code})`)
    }
  }
  return read
}

/** @throws ConfigError that lists every bad variable, one a line. */
export const readConfig = (env: NodeJS.ProcessEnv = process.env): Config => {
  // An empty variable is an unset one: that is how compose files and shells pass "no value".
  const present = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''))
  const lines: string[] = []
  const parsed = environment.safeParse(withSecretFiles(present, lines))
  if (parsed.success && lines.length === 0) return parsed.data
  lines.push(...(parsed.error?.issues ?? []).map((issue) => `  ${issue.path.join('.')}: ${issue.message}`))
  throw new ConfigError(`These environment variables are wrong:\n${lines.join('\n')}`)
}

/** How many letters may be wrong, of names so long at least. */
const [WRONG_LETTERS, LEAST_LETTERS] = [2, 8]

/** Variables that are set, are none of ours, and look like one of ours: SIDECAR_KYES would leave a sidecar open to all. */
export const misspelt = (env: NodeJS.ProcessEnv = process.env): { name: string; meant: string }[] =>
  Object.keys(env)
    .filter((name) => name.length >= LEAST_LETTERS && !knownVariables.includes(name))
    .flatMap((name) => knownVariables.filter((one) => distance(name.toUpperCase(), one) <= WRONG_LETTERS).map((meant) => ({ name, meant })))
