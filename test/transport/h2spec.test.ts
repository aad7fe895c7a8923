/**
 * The conformance suite of HTTP/2 (https://github.com/summerwind/h2spec), whole: generic, http2 and hpack. It is looked
 * for in H2SPEC, on the PATH and in the cache; `.ci/run` installs it:
 * `go install github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible`.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import test from 'ava'
import { createFastTransport } from '../../sidecar/transport/fast/transport.ts'
import { echoHandlers, echoService } from '../support/echo-service.ts'
import { findTool } from '../support/find-tool.ts'
import { noFault } from '../support/no-fault.ts'

const h2spec = findTool('h2spec', 'H2SPEC', '--version')
const suite = h2spec ? test : test.skip

suite('h2spec: every case of RFC 9113 and RFC 7541 that it has', async (t) => {
  const transport = createFastTransport({ nowMs: Date.now, onFault: noFault })
  t.teardown(() => transport.close(100))
  transport.addService(echoService, echoHandlers as never)
  const port = await transport.listen({ host: '127.0.0.1', port: 0 })
  const { stdout } = await promisify(execFile)(h2spec ?? '', ['-h', '127.0.0.1', '-p', String(port), '--timeout', '2'], { timeout: 110_000 }).catch(
    (error: { stdout: string }) => ({ stdout: error.stdout }),
  )
  const [, tests, passed, skipped, failed] = /(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed/.exec(stdout) ?? []
  t.log(`${tests} tests, ${passed} passed, ${skipped} skipped, ${failed} failed`)
  t.true(Number(tests) >= 145, stdout)
  t.is(failed, '0', stdout)
  t.is(skipped, '0')
})
