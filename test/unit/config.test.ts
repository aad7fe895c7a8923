import test from 'ava'
import { ConfigError, misspelt, readConfig } from '../../common/config.ts'
import { parseMongodbUrl } from '../../common/mongodb-url.ts'

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

test('a connection string is whatever the driver accepts: several hosts, an srv record, a password in any letters', (t) => {
  const database = (text: string) => parseMongodbUrl(text).database
  for (const [url, name] of [
    ['mongodb://a:27017,b:27017,c:27017/shop?replicaSet=rs', 'shop'],
    ['mongodb://user:p%40ss@a:27017,b/shop?authSource=admin&tls=true', 'shop'],
    ['mongodb+srv://user:secret@cluster0.example.net/shop?retryWrites=true&w=majority', 'shop'],
    ['mongodb://localhost', 'tollgate'],
    ['mongodb://[::1]:27017,[::2]:27017/', 'tollgate'],
  ] as const) {
    t.is(readConfig({ MONGODB_URL: url }).MONGODB_URL?.reveal(), url)
    t.is(database(url), name, url)
  }
  for (const url of ['mongodb://', 'mongodb+srv://a.example.net:27017/shop', 'localhost:27017', 'mysql://a/b'])
    t.throws(() => readConfig({ MONGODB_URL: url }), { message: /MONGODB_URL: must be a connection string/ }, url)
  const weak = parseMongodbUrl('mongodb://a,b/shop?replicaSet=rs&readConcernLevel=local&readPreference=secondary&w=1&journal=false&wtimeoutMS=5')
  t.deepEqual(weak.ignored.toSorted(), ['journal', 'readConcernLevel', 'readPreference', 'w', 'wtimeoutMS'])
  t.is(weak.url, 'mongodb://a,b/shop?replicaSet=rs')
})

test('a misspelt variable is noticed; variables that others read are left alone', (t) => {
  t.deepEqual(misspelt({ SIDECAR_KYES: '{}', PATH: '/bin', NODE_ENV: 'test', HOSTNAME: 'a', HTTP_PROXY: 'b', SIDECAR_KEYS: '{}' }), [
    { name: 'SIDECAR_KYES', meant: 'SIDECAR_KEYS' },
  ])
})
