/** Both transports, over everything that carries them. */
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { ChannelCredentials, Client, credentials } from '@grpc/grpc-js'
import test from 'ava'
import { createLog } from '../../common/log.ts'
import { Certificates } from '../../sidecar/transport/certificate-files.ts'
import { createFastTransport } from '../../sidecar/transport/fast/transport.ts'
import { createGrpcJsTransport } from '../../sidecar/transport/grpc-js.ts'
import type { Transport } from '../../sidecar/transport/transport.ts'
import { makeCertificates } from '../support/certificates.ts'
import { echoHandlers, echoService } from '../support/echo-service.ts'
import { eventually } from '../support/eventually.ts'
import { noFault } from '../support/no-fault.ts'
import { testTransport } from './transport.ts'

const log = createLog('silent')
const transports: [name: string, create: (certificates?: Certificates) => Transport][] = [
  ['grpc-js', (certificates) => createGrpcJsTransport({ certificates })],
  ['fast', (certificates) => createFastTransport({ nowMs: Date.now, certificates, onFault: noFault })],
]
const made = makeCertificates()
const { certFile, keyFile, caFile: clientCaFile } = made
const oneSided = new Certificates({ certFile, keyFile, clientCaFile: undefined }, log)
const mutual = new Certificates({ certFile, keyFile, clientCaFile }, log)
test.after.always(() => {
  oneSided.stop()
  mutual.stop()
})

for (const [name, create] of transports) {
  testTransport(test, name, create)
  testTransport(test, `${name}, Unix socket`, create, { path: join(mkdtempSync(join(tmpdir(), 'tollgate-')), name) })
  testTransport(test, `${name}, TLS`, () => create(oneSided), { credentials: credentials.createSsl(made.ca) })
  testTransport(test, `${name}, mTLS`, () => create(mutual), { credentials: ChannelCredentials.createSsl(made.ca, made.client.key, made.client.cert) })

  const same = (bytes: Buffer) => bytes
  const ask = (address: string, secrets: ChannelCredentials) =>
    new Promise<string | undefined>((resolve) => {
      const client = new Client(address, secrets)
      client.makeUnaryRequest('/test.Raw/Echo', same, same, Buffer.from('hello'), { deadline: Date.now() + 3_000 }, (_, answer) => {
        client.close()
        resolve(answer?.toString())
      })
    })

  test.serial(`${name}: a client without a certificate, or without TLS, is refused where one is required`, async (t) => {
    const transport = create(mutual)
    t.teardown(() => transport.close(100))
    transport.addService(echoService, echoHandlers as never)
    const address = `127.0.0.1:${await transport.listen({ host: '127.0.0.1', port: 0 })}`
    t.is(await ask(address, ChannelCredentials.createSsl(made.ca, made.client.key, made.client.cert)), 'hello')
    t.is(await ask(address, credentials.createSsl(made.ca)), undefined)
    t.is(await ask(address, credentials.createInsecure()), undefined)
    const other = makeCertificates()
    t.is(await ask(address, ChannelCredentials.createSsl(made.ca, other.client.key, other.client.cert)), undefined, 'of another authority')
  })

  test.serial(`${name}: a renewed certificate is taken without a restart; a broken one is not`, async (t) => {
    const own = makeCertificates()
    const certificates = new Certificates({ certFile: own.certFile, keyFile: own.keyFile, clientCaFile: undefined }, log, 50)
    const transport = create(certificates)
    t.teardown(() => transport.close(100))
    transport.addService(echoService, echoHandlers as never)
    const port = await transport.listen({ host: '127.0.0.1', port: 0 })
    const serial = () =>
      new Promise<string>((resolve) => {
        const socket = connect({ port, host: '127.0.0.1', ALPNProtocols: ['h2'], rejectUnauthorized: false }, () => {
          resolve(socket.getPeerCertificate().serialNumber)
          socket.destroy()
        })
        socket.on('error', () => resolve(''))
      })
    const renewed = own.renew()
    await eventually(async () => (await serial()) === renewed)
    writeFileSync(own.certFile, 'not a certificate')
    await new Promise((resolve) => setTimeout(resolve, 200))
    t.is(await serial(), renewed)
    t.is(await ask(`127.0.0.1:${port}`, credentials.createSsl(own.ca)), 'hello')
    certificates.stop()
  })
}
