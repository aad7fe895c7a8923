/**
 * Clients that others wrote, in other languages: ghz (grpc-go), grpcio (a C core), h2load, curl. Each is looked for in a
 * variable, the cache and the PATH; `.ci/run` installs them.
 */
import { execFile } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import test from 'ava'
import { systemClock } from '../../common/clock.ts'
import { createInProcessFeed } from '../../common/feed/in-process.ts'
import { CheckEntitlementRequest } from '../../proto/gen/entitlement/v1/entitlement.ts'
import { findTool } from '../support/find-tool.ts'
import { openSidecar, setOf, type TestSidecar } from '../support/sidecar.ts'

const run = promisify(execFile)
const ghz = findTool('ghz', 'GHZ', '--version')
const h2load = findTool('h2load', 'H2LOAD', '--version')
const curl = findTool('curl', 'CURL', '--version')
const python = findTool('python-with-grpcio', 'PYTHON_WITH_GRPCIO', '--version')
const when = (tool: string | undefined) => (tool ? test.serial : test.serial.skip)

let sidecar: TestSidecar
test.before(async () => {
  const feed = createInProcessFeed({ clock: systemClock })
  await feed.putSet(setOf('anna'))
  sidecar = await openSidecar({ SIDECAR_TRANSPORT: 'fast' }, { feed })
})
test.after.always(() => sidecar.close())

const question = { tenant_id: 'acme', storefront_id: 'us', customer_id: 'anna', entitlement: 'sso' }
const message = CheckEntitlementRequest.encode({
  tenantId: 'acme',
  storefrontId: 'us',
  customerId: 'anna',
  entitlement: 'sso',
  amount: 0n,
  minRevision: 0n,
}).finish()
const framed = () => {
  const path = join(mkdtempSync(join(tmpdir(), 'tollgate-client-')), 'request')
  writeFileSync(path, Buffer.concat([Buffer.from([0, 0, 0, 0, message.length]), message]))
  return path
}
const METHOD = '/entitlement.v1.EntitlementService/CheckEntitlement'

when(ghz)(`grpc-go (ghz): 20,000 calls over 8 connections, by reflection, all answered${ghz ? '' : ' (ghz is not here)'}`, async (t) => {
  const { stdout } = await run(
    ghz ?? '',
    [
      '--insecure',
      '--call',
      'entitlement.v1.EntitlementService.CheckEntitlement',
      '-d',
      JSON.stringify(question),
      '-n',
      '20000',
      '-c',
      '64',
      '--connections',
      '8',
      '-O',
      'json',
      sidecar.address,
    ],
    { maxBuffer: 64 * 1024 * 1024 },
  )
  const { count, statusCodeDistribution } = JSON.parse(stdout) as { count: number; statusCodeDistribution: Record<string, number> }
  t.is(count, 20_000)
  t.deepEqual(statusCodeDistribution, { OK: 20_000 })
})

const script = `
import sys, grpc, concurrent.futures
channel = grpc.insecure_channel(sys.argv[1])
same = lambda b: b
check = channel.unary_unary('${METHOD}', request_serializer=same, response_deserializer=same)
request = bytes.fromhex(sys.argv[2])
first = check(request, timeout=5)
with concurrent.futures.ThreadPoolExecutor(16) as pool:
    answers = list(pool.map(lambda n: check(request, timeout=5, metadata=(('x-n', 'v%d' % n),)), range(3000)))
assert all(a[:2] == first[:2] for a in answers)
try:
    check(b'', timeout=5)
    print('no error')
except grpc.RpcError as e:
    print(e.code().name, e.details())
watch = channel.unary_stream('/entitlement.v1.EntitlementService/WatchEntitlements', request_serializer=same, response_deserializer=same)
stream = watch(request[:request.index(b'\\x22')], timeout=5)
print(len(next(stream)) > 20)
stream.cancel()
try:
    grpc.insecure_channel(sys.argv[1], compression=grpc.Compression.Gzip).unary_unary('${METHOD}', request_serializer=same, response_deserializer=same)(request * 1 + b'\\x12' + bytes([120]) + b'a' * 120, timeout=5)
    print('taken')
except grpc.RpcError as e:
    print(e.code().name)
print(first[:2].hex())
`
when(python)(`Python's grpcio: unary, errors, a stream that is canceled, compression refused${python ? '' : ' (grpcio is not here)'}`, async (t) => {
  const { stdout } = await run(python ?? '', ['-c', script, sidecar.address, Buffer.from(message).toString('hex')])
  t.deepEqual(stdout.trim().split('\n'), ['INVALID_ARGUMENT tenant_id: must be set', 'True', 'UNIMPLEMENTED', '0801'])
})

when(h2load)(`h2load: 8 connections × 32 streams, everything answered${h2load ? '' : ' (h2load is not here)'}`, async (t) => {
  const { stdout } = await run(h2load ?? '', [
    '-n',
    '20000',
    '-c',
    '8',
    '-m',
    '32',
    '-d',
    framed(),
    '-H',
    'content-type: application/grpc',
    '-H',
    'te: trailers',
    `http://${sidecar.address}${METHOD}`,
  ])
  t.regex(stdout, /20000 total, 20000 started, 20000 done, 20000 succeeded, 0 failed, 0 errored, 0 timeout/)
})

when(curl)(`curl: an answer and its trailers${curl ? '' : ' (curl is not here)'}`, async (t) => {
  const { stdout } = await run(
    curl ?? '',
    [
      '--silent',
      '--http2-prior-knowledge',
      '--include',
      '--data-binary',
      `@${framed()}`,
      '-H',
      'content-type: application/grpc',
      '-H',
      'te: trailers',
      `http://${sidecar.address}${METHOD}`,
    ],
    { encoding: 'latin1' },
  )
  t.regex(stdout, /^HTTP\/2 200/)
  t.regex(stdout, /grpc-status: 0/)
  // And one that speaks no gRPC.
  const { stdout: page } = await run(curl ?? '', ['--silent', '--http2-prior-knowledge', '--include', `http://${sidecar.address}/`])
  t.regex(page, /^HTTP\/2 415/)
})
