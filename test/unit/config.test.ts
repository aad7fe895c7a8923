import test from 'ava'
import { ConfigError, misspelt, readConfig } from '../../common/config.ts'

test('without any variable everything has its default', (t) => {
  t.like(readConfig({}), { HOST: '127.0.0.1', HTTP_PORT: 8080, GRPC_PORT: 50051, DATA_DIR: './data', MONGODB_URL: undefined, NATS_URL: undefined })
})

test('an empty variable is an unset one', (t) => {
  t.is(readConfig({ MONGODB_URL: '', HTTP_PORT: '' }).HTTP_PORT, 8080)
})

test('every bad variable is named at once, with what was expected, and no value is shown', (t) => {
  const bad = { HTTP_PORT: 'eighty', MONGODB_URL: 'http://secret-value', NATS_URL: 'secret-value', PLATFORM_API_KEY: 'short', LOG_LEVEL: 'loud' }
  const error = t.throws(() => readConfig(bad), { instanceOf: ConfigError })
  for (const name of Object.keys(bad)) t.true(error?.message.includes(name), name)
  t.false(error?.message.includes('secret-value'))
  t.false(error?.message.includes('short\n'))
})

test('a variable that is misspelt is noticed; what others read is left alone', (t) => {
  t.deepEqual(misspelt({ SIDECAR_KYES: '{}', PATH: '/bin', NODE_ENV: 'test', HOSTNAME: 'a', HTTP_PROXY: 'b', SIDECAR_KEYS: '{}' }), [
    { name: 'SIDECAR_KYES', meant: 'SIDECAR_KEYS' },
  ])
})
