/** Faults of ours in one call: each is told of, with its error, and ends nothing but that call. */
import type { ServerUnaryCall, ServerWritableStream, ServiceDefinition, sendUnaryData } from '@grpc/grpc-js'
import test, { type ExecutionContext } from 'ava'
import { FrameFlag, FrameType, frame, Http2ErrorCode, rstStreamFrame } from '../../sidecar/transport/fast/frames.ts'
import { createFastTransport } from '../../sidecar/transport/fast/transport.ts'
import { eventually } from '../support/eventually.ts'
import { connectRaw, headersFrame, lastData, type RawClient, requestHeaders } from '../support/raw-http2.ts'

const same = (bytes: Buffer) => bytes
const method = (name: string, more: object = {}) => ({
  path: `/test.Faults/${name}`,
  requestStream: false,
  responseStream: false,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
  ...more,
})
const raise = (what: string) => () => {
  throw new Error(what)
}
const service = {
  echo: method('Echo'),
  thrower: method('Thrower'),
  unsayable: method('Unsayable', { responseSerialize: raise('it cannot be serialised') }),
  listener: method('Listener', { responseStream: true }),
  mute: method('Mute'),
} satisfies ServiceDefinition

const echo = (call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) => callback(null, call.request)
const deaf = (call: ServerWritableStream<Buffer, Buffer>) => {
  call.on('cancelled', raise('a listener of a stream failed'))
  call.write(call.request)
}
const mute = (call: ServerUnaryCall<Buffer, Buffer>) => void call.on('cancelled', raise('a listener failed'))

const open = async (t: ExecutionContext) => {
  const faults: string[] = []
  const transport = createFastTransport({
    nowMs: Date.now,
    onFault: (error) => faults.push((error as Error).message),
    refused: (_, authorization) => (authorization === 'broken' ? raise('callers cannot be looked up')() : undefined),
  })
  transport.addService(service, { echo, thrower: raise('a handler failed'), unsayable: echo, listener: deaf, mute } as never)
  const port = await transport.listen({ host: '127.0.0.1', port: 0 })
  const client = await connectRaw(port)
  t.teardown(async () => {
    client.close()
    await transport.close(10)
  })
  return { transport, client, faults, port }
}

let lastId = 1
const ask = (client: RawClient, name: string): number => {
  lastId += 2
  client.send(Buffer.concat([headersFrame(lastId, requestHeaders(`/test.Faults/${name}`)), lastData(lastId, Buffer.from('asked'))]))
  return lastId
}
const end = (client: RawClient, id: number) =>
  client.waitFor(({ streamId, flags, type }) => streamId === id && type === FrameType.HEADERS && (flags & FrameFlag.END_STREAM) !== 0)
const statusOf = async (client: RawClient, id: number) => /grpc-status.(\d+)/.exec((await end(client, id)).payload.toString('latin1'))?.[1]

test('a handler that throws, and an answer that cannot be sent', async (t) => {
  const { client, faults } = await open(t)
  t.is(await statusOf(client, ask(client, 'Thrower')), '13')
  t.is(await statusOf(client, ask(client, 'Unsayable')), '13')
  t.deepEqual(faults, ['a handler failed', 'it cannot be serialised'])
  t.is(await statusOf(client, ask(client, 'Echo')), '0')
})

test('a short way that throws: the handler answers, and the fault is told of all the same', async (t) => {
  const { transport, client, faults } = await open(t)
  transport.addDirect('/test.Faults/Echo', { maxBytes: () => 100, answer: raise('the short way failed') })
  t.is(await statusOf(client, ask(client, 'Echo')), '0')
  t.deepEqual(faults, ['the short way failed'])
})

test('what nobody foresaw ends its stream by INTERNAL_ERROR, and others on the connection go on', async (t) => {
  const { client, faults } = await open(t)
  lastId += 2
  const id = lastId
  client.send(headersFrame(id, requestHeaders('/test.Faults/Echo', [['authorization', 'broken']])))
  client.send(frame(FrameType.DATA, 0, id, Buffer.from([0, 0, 0, 0, 100])))
  const { payload } = await client.waitFor(({ streamId, type }) => streamId === id && type === FrameType.RST_STREAM)
  t.is(payload.readUInt32BE(0), Http2ErrorCode.INTERNAL_ERROR)
  t.deepEqual(faults, ['callers cannot be looked up'])
  t.is(await statusOf(client, ask(client, 'Echo')), '0')
})

test('a listener that throws when its caller hangs up, by a frame or with the connection', async (t) => {
  const { client, faults, port } = await open(t)
  const [stream, unary] = [ask(client, 'Listener'), ask(client, 'Mute')]
  await client.waitFor(({ streamId, type }) => streamId === stream && type === FrameType.DATA)
  for (const id of [stream, unary]) client.send(rstStreamFrame(id, Http2ErrorCode.CANCEL))
  t.is(await statusOf(client, ask(client, 'Echo')), '0')
  t.deepEqual(faults, ['a listener of a stream failed', 'a listener failed'])
  const other = await connectRaw(port)
  const running = ask(other, 'Listener')
  ask(other, 'Mute')
  await other.waitFor(({ streamId, type }) => streamId === running && type === FrameType.DATA)
  other.close()
  await eventually(() => faults.length === 4)
  t.deepEqual(faults.slice(2).toSorted(), ['a listener failed', 'a listener of a stream failed'])
  t.is(await statusOf(client, ask(client, 'Echo')), '0')
})
