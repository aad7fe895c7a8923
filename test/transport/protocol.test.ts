/** Corners of HTTP/2 and gRPC that well-behaved clients may turn, frame by frame. */
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { FrameFlag, FrameType, frame, Setting, settingsFrame, windowUpdateFrame } from '../../sidecar/transport/fast/frames.ts'
import { encodeHeaders } from '../../sidecar/transport/fast/hpack/encoder.ts'
import { createFastTransport } from '../../sidecar/transport/fast/transport.ts'
import type { Transport } from '../../sidecar/transport/transport.ts'
import { echoHandlers, echoService } from '../support/echo-service.ts'
import { noFault } from '../support/no-fault.ts'
import { connectRaw, headersFrame, lastData, type RawClient, requestHeaders } from '../support/raw-http2.ts'

let transport: Transport
let port = 0
test.before(async () => {
  transport = createFastTransport({ nowMs: Date.now, onFault: noFault })
  transport.addService(echoService, echoHandlers as never)
  port = await transport.listen({ host: '127.0.0.1', port: 0 })
})
test.after.always(() => transport.close(10))

const received = ({ frames }: RawClient, streamId: number) =>
  Buffer.concat(frames.filter((one) => one.type === FrameType.DATA && one.streamId === streamId).map(({ payload }) => payload))
const ended = (client: RawClient, streamId: number) =>
  client.waitFor((one) => one.type === FrameType.HEADERS && one.streamId === streamId && (one.flags & FrameFlag.END_STREAM) !== 0)

test('settings change in flight: a window that was small lets go on as it grows, to the last byte', async (t) => {
  const client = await connectRaw(port)
  client.send(settingsFrame([[Setting.INITIAL_WINDOW_SIZE, 10]]))
  const message = Buffer.alloc(40_000, 7)
  const bytes = lastData(1, message)
  // In frames of 16 KiB at most.
  const data = bytes.subarray(9)
  client.send(headersFrame(1, requestHeaders('/test.Raw/Echo')))
  for (let at = 0; at < data.length; at += 16_384)
    client.send(frame(FrameType.DATA, at + 16_384 >= data.length ? FrameFlag.END_STREAM : 0, 1, data.subarray(at, at + 16_384)))
  await client.waitFor(({ type, streamId }) => type === FrameType.DATA && streamId === 1)
  await sleep(50)
  t.is(received(client, 1).length, 10)
  client.send(settingsFrame([[Setting.INITIAL_WINDOW_SIZE, 1_000]]))
  await sleep(50)
  t.is(received(client, 1).length, 1_000)
  // Below zero, and up again: what was sent counts.
  client.send(settingsFrame([[Setting.INITIAL_WINDOW_SIZE, 0]]))
  client.send(windowUpdateFrame(1, 1_500))
  await sleep(50)
  t.is(received(client, 1).length, 1_500)
  client.send(Buffer.concat([windowUpdateFrame(1, 100_000), settingsFrame([[Setting.MAX_FRAME_SIZE, 20_000]])]))
  await ended(client, 1)
  t.deepEqual(received(client, 1).subarray(5), message)
  client.close()
})

test('the window of the connection holds back what the streams would allow', async (t) => {
  const client = await connectRaw(port)
  client.send(settingsFrame([[Setting.INITIAL_WINDOW_SIZE, 2 ** 20]]))
  for (const id of [1, 3]) client.send(Buffer.concat([headersFrame(id, requestHeaders('/test.Raw/Flood')), lastData(id, Buffer.from('x'))]))
  await client.waitFor(({ type }) => type === FrameType.DATA)
  await sleep(100)
  t.is(received(client, 1).length + received(client, 3).length, 65_535)
  client.send(windowUpdateFrame(0, 100_000))
  await sleep(100)
  t.is(received(client, 1).length + received(client, 3).length, 165_535)
  client.close()
})

test('headers in CONTINUATION, padding and priority are read; trailers too', async (t) => {
  const client = await connectRaw(port)
  const block = requestHeaders('/test.Raw/Echo')
  const cut = Math.floor(block.length / 2)
  client.send(headersFrame(1, block.subarray(0, cut), 0))
  client.send(frame(FrameType.CONTINUATION, 0, 1))
  client.send(frame(FrameType.CONTINUATION, FrameFlag.END_HEADERS, 1, block.subarray(cut)))
  const message = lastData(1, Buffer.from('padded')).subarray(9)
  client.send(frame(FrameType.DATA, FrameFlag.PADDED, 1, Buffer.concat([Buffer.from([7]), message, Buffer.alloc(7)])))
  client.send(headersFrame(1, encodeHeaders([['x-checksum', 'of mine']]), FrameFlag.END_HEADERS | FrameFlag.END_STREAM))
  await ended(client, 1)
  t.is(received(client, 1).subarray(5).toString(), 'padded')
  const prioritized = Buffer.concat([Buffer.from([3, 0x80, 0, 0, 1, 200]), block, Buffer.alloc(3)])
  client.send(frame(FrameType.HEADERS, FrameFlag.END_HEADERS | FrameFlag.PADDED | FrameFlag.PRIORITY, 3, prioritized))
  client.send(lastData(3, Buffer.from('first')))
  await ended(client, 3)
  t.is(received(client, 3).subarray(5).toString(), 'first')
  client.close()
})

test('a ping is answered with its own bytes, and in its turn', async (t) => {
  const client = await connectRaw(port)
  client.send(frame(FrameType.PING, 0, 0, Buffer.from('8 bytes!')))
  const { payload } = await client.waitFor(({ type, flags }) => type === FrameType.PING && flags === FrameFlag.ACK)
  t.is(payload.toString(), '8 bytes!')
  client.close()
})

test('an answer that is nothing but an error is one frame of headers', async (t) => {
  const client = await connectRaw(port)
  client.send(Buffer.concat([headersFrame(1, requestHeaders('/test.Raw/Nothing')), lastData(1, Buffer.alloc(0))]))
  const { payload } = await ended(client, 1)
  t.true(payload.includes('grpc-status'))
  await sleep(30)
  // One of headers, and one that says that the rest of the request is not needed; what still comes is read over.
  t.deepEqual(
    client.frames.filter(({ streamId }) => streamId === 1).map(({ type }) => type),
    [FrameType.HEADERS, FrameType.RST_STREAM],
  )
  client.close()
})

test('deadlines that nobody can keep, and timeouts that are none', async (t) => {
  for (const [timeout, status] of [
    ['1n', '4'],
    ['soon', '13'],
    ['123456789S', '13'],
    ['S', '13'],
  ] as const) {
    const client = await connectRaw(port)
    client.send(Buffer.concat([headersFrame(1, requestHeaders('/test.Raw/Never', [['grpc-timeout', timeout]])), lastData(1, Buffer.alloc(0))]))
    const { payload } = await ended(client, 1)
    t.regex(payload.toString('latin1'), new RegExp(`grpc-status.${status}`), timeout)
    client.close()
  }
})

test('who drains says so, finishes, and takes no new streams', async (t) => {
  const another = createFastTransport({ nowMs: Date.now, onFault: noFault })
  another.addService(echoService, echoHandlers as never)
  const client = await connectRaw(await another.listen({ host: '127.0.0.1', port: 0 }))
  client.send(headersFrame(1, requestHeaders('/test.Raw/Echo')))
  await sleep(50)
  const closed = another.close(5_000)
  const { payload } = await client.waitFor(({ type }) => type === FrameType.GOAWAY)
  t.is(payload.readUInt32BE(0), 1)
  client.send(Buffer.concat([headersFrame(3, requestHeaders('/test.Raw/Echo')), lastData(3, Buffer.alloc(0))]))
  await client.waitFor(({ type, streamId }) => type === FrameType.RST_STREAM && streamId === 3)
  client.send(lastData(1, Buffer.from('in time')))
  await ended(client, 1)
  t.is(received(client, 1).subarray(5).toString(), 'in time')
  await closed
})
