/** A secret is shown by nothing that prints it, and opened only where the text itself is needed. */
import { readFileSync } from 'node:fs'
import { glob } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { format, inspect } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { pino } from 'pino'
import { systemClock } from '../../common/clock.ts'
import { readConfig } from '../../common/config.ts'
import { Secret } from '../../common/secret.ts'
import { routes } from '../../control-plane/http/routes/index.ts'
import { adyenProvider } from '../../control-plane/payments/psp/adyen/adapter.ts'
import type { PspProvider } from '../../control-plane/payments/psp/directory.ts'
import { localProvider } from '../../control-plane/payments/psp/local/adapter.ts'
import { mercadopagoProvider } from '../../control-plane/payments/psp/mercadopago/adapter.ts'
import { paypalProvider } from '../../control-plane/payments/psp/paypal/adapter.ts'
import { stripeProvider } from '../../control-plane/payments/psp/stripe/adapter.ts'
import { createSealing } from '../../control-plane/storage/sealing.ts'

const WEBHOOK_SECRET = `whsec_${Buffer.alloc(24, 7).toString('base64')}`

const logged = (fields: object, message: string): string => {
  const lines: string[] = []
  pino({}, { write: (line) => void lines.push(line) }).error(fields, message)
  return lines.join('')
}

/** Without the redaction of `common/log.ts`, which knows secrets by the names of their fields. */
const allPrintsOf = (thing: object): string[] => {
  const thrown = Object.assign(new Error(`failed with ${thing}`, { cause: thing }), { thing })
  return [
    logged({ thing }, String(thing)),
    logged({ err: thrown }, thrown.message),
    JSON.stringify({ thing }),
    inspect(thing, { depth: Number.POSITIVE_INFINITY, showHidden: true }),
    inspect(thing, { depth: Number.POSITIVE_INFINITY, customInspect: false }),
    inspect(thrown, { depth: Number.POSITIVE_INFINITY }),
    format('%s %o %O %j %s', thing, thing, thing, thing, Object.entries(thing)),
    inspect(structuredClone(thing), { depth: Number.POSITIVE_INFINITY }),
  ]
}

const isHidden = (t: ExecutionContext, thing: object, texts: string[]) => {
  for (const print of allPrintsOf(thing)) for (const text of texts) t.false(print.includes(text), print)
}

test('a secret prints as [secret], however it is printed', (t) => {
  const secret = new Secret('sk_live_1')
  isHidden(t, secret, ['sk_live_1'])
  isHidden(t, { nested: [{ secret }] }, ['sk_live_1'])
  isHidden(t, new Secret({ apiKey: 'sk_live_1' }), ['sk_live_1', 'apiKey'])
  t.is(`${secret}`, '[secret]')
  t.is(JSON.stringify({ secret }), '{"secret":"[secret]"}')
  t.is(inspect({ secret }), '{ secret: [secret] }')
  t.is(secret.reveal(), 'sk_live_1')
})

test('the configuration shows none of its secrets', (t) => {
  const bytes = Buffer.alloc(32, 'thirty-two bytes').toString('base64')
  const shown = {
    PLATFORM_API_KEY: 'a-platform-key-of-1,a-platform-key-of-2',
    CREDENTIALS_KEY: bytes,
    FEED_SIGNING_KEY: 'c2lnbmluZw==',
    MONGODB_URL: 'mongodb://ann:mongo-password@localhost/tollgate',
    NATS_URL: 'nats://ann:nats-password@localhost',
    SIDECAR_KEYS: '{"a-key-of-a-caller": ["acme"]}',
    SNAPSHOT_KEY: bytes,
    SIMULATOR_WEBHOOK_SECRET: `whsec_${bytes}`,
    CALLER_KEY: 'a-key-of-a-caller',
  }
  const texts = [bytes, 'a-platform-key', 'c2lnbmluZw', 'mongo-password', 'nats-password', 'a-key-of-a-caller']
  const config = readConfig(shown)
  for (const name of Object.keys(shown)) t.not(config[name as keyof typeof shown], undefined, name)
  isHidden(t, config, texts)
})

/** What an account at each provider has, and which part of it is secret. */
const accounts: [name: string, provider: Pick<PspProvider, 'credentials'>, given: object, secret: string][] = [
  ['stripe', stripeProvider({ clock: systemClock, baseUrl: undefined }), { secretKey: 'sk_live_1' }, 'sk_live_1'],
  ['adyen', adyenProvider({ baseUrl: undefined }), { apiKey: 'AQE1', merchantAccount: 'Shop' }, 'AQE1'],
  ['paypal', paypalProvider({ clock: systemClock, baseUrl: undefined }), { clientId: 'shop', clientSecret: 'EGn1' }, 'EGn1'],
  ['mercadopago', mercadopagoProvider({ clock: systemClock, baseUrl: undefined }), { accessToken: 'APP_USR-1' }, 'APP_USR-1'],
  ['local', localProvider({ clock: systemClock, allowPrivate: false }), { url: 'https://bank.example', secret: WEBHOOK_SECRET }, WEBHOOK_SECRET],
]
for (const [name, { credentials }, given, secret] of accounts) {
  test(`what is decrypted of an account at ${name} is not shown`, (t) => {
    const sealing = createSealing(new Secret(Buffer.alloc(32, 1).toString('base64')))
    const opened = sealing.open(sealing.seal(new Secret(JSON.stringify(given)), 'acme/account'), 'acme/account')
    isHidden(t, opened, [secret])
    const webhookSecret = sealing.open(sealing.seal(new Secret('webhook-secret-1'), 'acme/account'), 'acme/account')
    isHidden(t, { credentials: credentials.parse(JSON.parse(opened.reveal())), webhookSecret }, [secret, 'webhook-secret-1'])
  })
}

/** Requests that name a secret, and which part of each it is. */
const requests: [call: string, body: object, secrets: string[]][] = [
  ['post /v1/sign-in', { tenant: 'acme', email: 'ann@example.com', password: 'correct horse', code: '123456' }, ['correct horse', '123456']],
  ['post /v1/sign-in/invitation', { invitation: 'WyJhY21l' }, ['WyJhY21l']],
  ['post /v1/sign-in/invitation/take', { invitation: 'WyJhY21l', password: 'correct horse', code: '123456' }, ['WyJhY21l', 'correct horse', '123456']],
  [
    'post /v1/psp-accounts',
    { id: 'a', provider: 'stripe', credentials: { secretKey: 'sk_live_1' }, webhookSecret: WEBHOOK_SECRET },
    ['sk_live_1', WEBHOOK_SECRET],
  ],
  ['patch /v1/psp-accounts/{account}', { credentials: { secretKey: 'sk_live_1' }, webhookSecret: WEBHOOK_SECRET }, ['sk_live_1', WEBHOOK_SECRET]],
  ['post /v1/webhook-endpoints', { url: 'https://shop.example/hooks', types: ['*'], secret: WEBHOOK_SECRET }, [WEBHOOK_SECRET]],
  [
    'put /v1/identity-provider',
    { issuer: 'https://login.example.com', clientId: 'c', clientSecret: 'shared with it', groups: [{ group: 'g', role: 'read' }] },
    ['shared with it'],
  ],
]
for (const [call, body, secrets] of requests) {
  test(`${call} hides its secrets from what prints its body`, (t) => {
    const schema = routes.find(({ method, path }) => `${method} ${path}` === call)?.body
    isHidden(t, schema?.parse(body) as object, secrets)
  })
}

/** What each needs the text for. A file that is new here is seen in review. */
const mayReveal: Record<string, string> = {
  'cli/demo.ts': 'sends the platform key',
  'cli/sidecar.ts': 'sends the key of a caller',
  'client/connection.ts': 'sends the key',
  'common/feed/nats/connection.ts': 'connects',
  'common/feed/nats/credentials.ts': 'looks whether NATS_URL names a user',
  'common/feed/signing.ts': 'reads the signing key',
  'common/safe-defaults.ts': 'measures the platform keys',
  'control-plane/access/authenticate.ts': 'compares hashes of platform keys',
  'control-plane/catalog/psp-accounts.ts': 'joins credentials into one text, which is encrypted',
  'control-plane/events/webhooks/send.ts': 'signs messages',
  'control-plane/http/idempotency.ts': 'hashes a request, to know it again',
  'control-plane/http/routes/webhook-endpoints.ts': 'shows a new secret, once',
  'control-plane/payments/psp/adyen/adapter.ts': 'calls the provider',
  'control-plane/payments/psp/directory.ts': 'reads credentials by the schema of their provider, which makes secrets of them again',
  'control-plane/payments/psp/local/adapter.ts': 'calls the provider',
  'control-plane/payments/psp/mercadopago/adapter.ts': 'calls the provider',
  'control-plane/payments/psp/paypal/adapter.ts': 'calls the provider',
  'control-plane/payments/psp/simulator/adapter.ts': 'verifies signatures',
  'control-plane/payments/psp/stripe/adapter.ts': 'calls the provider',
  'control-plane/people/open-id.ts': 'shows the identity provider who asks, and reads what a browser kept',
  'control-plane/people/passwords.ts': 'hashes passwords',
  'control-plane/people/totp.ts': 'computes codes, and compares them',
  'control-plane/people/users.ts': 'reads whose an invitation is',
  'control-plane/storage/mongo/connect.ts': 'connects',
  'control-plane/storage/sealing.ts': 'encrypts, and reads the keys to do so',
  'psp-simulator/webhook-sender.ts': 'signs',
  'sidecar/policy/callers.ts': "hashes callers' keys",
  'sidecar/replica/snapshots.ts': 'reads the key that encrypts',
  'sidecar/workers/pool.ts': "hands callers' keys to another thread, where no Secret gets",
}

test('only these files open a secret', async (t) => {
  const root = fileURLToPath(new URL('../..', import.meta.url))
  const opening: string[] = []
  for await (const file of glob('{common,sidecar,client,psp-simulator,control-plane,all-in-one,cli}/**/*.ts', { cwd: root }))
    if (/\breveal\b(?!\(\): )/.test(readFileSync(`${root}/${file}`, 'utf8').replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*/g, ''))) opening.push(file)
  t.deepEqual(opening.toSorted(), Object.keys(mayReveal).toSorted())
})
