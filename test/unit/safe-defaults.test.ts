import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { ConfigError, readConfig } from '../../common/config.ts'
import { createLog } from '../../common/log.ts'
import { checkControlPlaneIsSafe, checkSidecarIsSafe } from '../../common/safe-defaults.ts'

const log = createLog('silent')
const secret = Buffer.alloc(32, 'secret').toString('base64')
const PLATFORM_API_KEY = 'aVeryLongPlatformKeyOfThirtyTwo+Letters'

test('in production the secrets of providers are sealed, and a platform key is not short, unless somebody says otherwise', (t) => {
  for (const production of [{ NODE_ENV: 'production' }, { MONGODB_URL: 'mongodb://localhost' }]) {
    const check = (env: NodeJS.ProcessEnv) => () => checkControlPlaneIsSafe(readConfig({ ...production, ...env }), log)
    t.throws(check({}), { instanceOf: ConfigError, message: /CREDENTIALS_KEY: must be set/ })
    t.throws(check({ CREDENTIALS_KEY: secret, PLATFORM_API_KEY: 'sixteen-letters!' }), { message: /PLATFORM_API_KEY: must have at least 32/ })
    t.notThrows(check({ CREDENTIALS_KEY: secret, PLATFORM_API_KEY }))
    t.notThrows(check({ CREDENTIALS_KEY: secret }))
    t.notThrows(check({ ALLOW_PLAIN_SECRETS: 'true' }))
  }
  t.notThrows(() => checkControlPlaneIsSafe(readConfig({}), log))
})

test('a sidecar that others reach is open only when somebody says so', (t) => {
  const check = (env: NodeJS.ProcessEnv) => () => checkSidecarIsSafe(readConfig(env))
  for (const HOST of ['0.0.0.0', '::', '10.0.0.7', 'sidecar.internal']) {
    t.throws(check({ HOST }), { instanceOf: ConfigError, message: /SIDECAR_OPEN=true/ }, HOST)
    t.notThrows(check({ HOST, SIDECAR_OPEN: 'true' }))
    t.notThrows(check({ HOST, SIDECAR_KEYS: '{"sixteen-letters-1": ["t"]}' }))
    t.notThrows(check({ HOST, TLS_CLIENT_CA_FILE: '/ca.pem' }))
    t.throws(check({ HOST, TLS_CLIENT_CA_FILE: '/ca.pem', SIDECAR_HTTP_PORT: '8081' }), { message: /SIDECAR_HTTP_PORT/ })
    t.notThrows(check({ HOST, GRPC_SOCKET: '/run/tollgate.sock' }))
    t.throws(check({ HOST, GRPC_SOCKET: '/run/tollgate.sock', SIDECAR_HTTP_PORT: '8081' }))
  }
  for (const HOST of ['127.0.0.1', '127.1.2.3', '::1', 'localhost']) t.notThrows(check({ HOST }), HOST)
})

test('a platform key that anybody would try is refused everywhere', (t) => {
  for (const key of ['aaaaaaaaaaaaaaaa', '1234123412341234', 'short'])
    t.throws(() => readConfig({ PLATFORM_API_KEY: key }), { message: /PLATFORM_API_KEY/ }, key)
  t.deepEqual(
    readConfig({ PLATFORM_API_KEY: `${PLATFORM_API_KEY},another-key-of-ours-42` }).PLATFORM_API_KEY?.map((one) => one.reveal()),
    [PLATFORM_API_KEY, 'another-key-of-ours-42'],
  )
  t.throws(() => readConfig({ PLATFORM_API_KEY: 'one-key-of-ours-1,one-key-of-ours-2,one-key-of-ours-3' }), { message: /or two/ })
})

test('a secret may be in a file, and not in both', (t) => {
  const file = join(mkdtempSync(join(tmpdir(), 'tollgate-secret-')), 'key')
  writeFileSync(file, `${secret}\n`)
  t.is(readConfig({ CREDENTIALS_KEY_FILE: file }).CREDENTIALS_KEY?.reveal(), secret)
  t.throws(() => readConfig({ CREDENTIALS_KEY_FILE: file, CREDENTIALS_KEY: secret }), { message: /set only one of them/ })
  t.throws(() => readConfig({ CREDENTIALS_KEY_FILE: `${file}.none` }), { message: /CREDENTIALS_KEY_FILE: cannot be read \(ENOENT\)/ })
  writeFileSync(file, '\n')
  t.throws(() => readConfig({ CREDENTIALS_KEY_FILE: file }), { message: /the file is empty/ })
})
