/**
 * Peers that mean harm. After each attack the connection has ended with the right error, others are still served, and
 * memory has not grown.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import {
  FrameFlag,
  FrameType,
  frame,
  goAwayFrame,
  Http2ErrorCode,
  rstStreamFrame,
  Setting,
  settingsFrame,
  windowUpdateFrame,
} from '../../sidecar/transport/fast/frames.ts'
import { encodeHeaders } from '../../sidecar/transport/fast/hpack/encoder.ts'
import { limits } from '../../sidecar/transport/fast/limits.ts'
import { createFastTransport } from '../../sidecar/transport/fast/transport.ts'
import type { Transport } from '../../sidecar/transport/transport.ts'
import { echoHandlers, echoService } from '../support/echo-service.ts'
import { noFault } from '../support/no-fault.ts'
import { connectRaw, headersFrame, lastData, type RawClient, requestHeaders } from '../support/raw-http2.ts'

/** The time by which stalls are measured; a test moves it. */
let aheadMs = 0
let transport: Transport
let port = 0

/** That many peers together are cut off is told of as well, and is what one attack is about. */
const onFault = (error: unknown) => (String(error).includes('connections were closed') ? undefined : noFault(error))

test.before(async () => {
  transport = createFastTransport({ nowMs: () => Date.now() + aheadMs, onFault })
  transport.addService(echoService, echoHandlers as never)
  port = await transport.listen({ host: '127.0.0.1', port: 0 })
})
test.after.always(() => transport.close(10))

const ask = (client: RawClient, streamId: number, text: string, path = '/test.Raw/Echo') =>
  client.send(Buffer.concat([headersFrame(streamId, requestHeaders(path)), lastData(streamId, Buffer.from(text))]))

const memory = () => {
  const { heapUsed, external, arrayBuffers } = process.memoryUsage()
  return heapUsed + external + arrayBuffers
}

/** Others are served, before, while and after. */
const attack = (title: string, run: (t: ExecutionContext) => Promise<void>) =>
  test.serial(title, async (t) => {
    const other = await connectRaw(port)
    let streamId = 1
    const serves = async (text: string) => {
      ask(other, streamId, text)
      const id = streamId
      streamId += 2
      const { payload } = await other.waitFor((one) => one.streamId === id && one.type === FrameType.DATA)
      t.is(payload.subarray(5).toString(), text)
    }
    await serves('before')
    const before = memory()
    await run(t)
    await serves('after')
    t.true(memory() - before < 96 * 1024 * 1024, `memory grew by ${Math.round((memory() - before) / 1024 / 1024)} MiB`)
    other.close()
  })

attack('rapid reset (CVE-2023-44487): a stream opened and reset, 100,000 times', async (t) => {
  const client = await connectRaw(port)
  const block = requestHeaders('/test.Raw/Never')
  for (let n = 0; n < 100_000 && !client.socket.destroyed; n += 500) {
    const frames: Buffer[] = []
    for (let id = 2 * n + 1; id < 2 * (n + 500); id += 2) frames.push(headersFrame(id, block), rstStreamFrame(id, Http2ErrorCode.CANCEL))
    client.send(Buffer.concat(frames))
    await sleep(0)
  }
  t.is(await client.ended(), Http2ErrorCode.ENHANCE_YOUR_CALM)
})

attack('made to reset (CVE-2025-8671): streams whose own faults have the server reset them', async (t) => {
  const client = await connectRaw(port)
  const block = requestHeaders('/test.Raw/Never')
  for (let n = 0; n < 5_000 && !client.socket.destroyed; n += 1) {
    const id = 2 * n + 1
    client.send(Buffer.concat([headersFrame(id, block), windowUpdateFrame(id, 0)]))
    if (n % 500 === 0) await sleep(0)
  }
  t.is(await client.ended(), Http2ErrorCode.ENHANCE_YOUR_CALM)
})

attack('CONTINUATION flood (CVE-2024-27316): a header block that never ends', async (t) => {
  const client = await connectRaw(port)
  client.send(headersFrame(1, requestHeaders('/test.Raw/Echo'), 0))
  for (let n = 0; n < 1_000 && !client.socket.destroyed; n += 1) {
    client.send(frame(FrameType.CONTINUATION, 0, 1, encodeHeaders([['x-more', 'x'.repeat(1000)]])))
    if (n % 50 === 0) await sleep(0)
  }
  t.is(await client.ended(), Http2ErrorCode.ENHANCE_YOUR_CALM)
})

attack('CONTINUATION flood of empty frames', async (t) => {
  const client = await connectRaw(port)
  client.send(headersFrame(1, requestHeaders('/test.Raw/Echo'), 0))
  for (let n = 0; n < 100; n += 1) client.send(frame(FrameType.CONTINUATION, 0, 1))
  t.is(await client.ended(), Http2ErrorCode.ENHANCE_YOUR_CALM)
})

attack('HPACK bomb: one large field in the table, named 4,000 times in each block', async (t) => {
  const client = await connectRaw(port)
  const value = 'x'.repeat(3_900)
  // A literal with incremental indexing (0x40), a new name of one letter, and a value of 3,900.
  const length = value.length - 127
  const big = Buffer.concat([Buffer.from([0x40, 1, 0x78, 127, (length % 128) | 128, length >> 7]), Buffer.from(value)])
  client.send(headersFrame(1, Buffer.concat([requestHeaders('/test.Raw/Never'), big])))
  // 0xbe is index 62: the newest entry of the table.
  const bomb = Buffer.concat([requestHeaders('/test.Raw/Never'), Buffer.alloc(4_000, 0xbe)])
  for (let id = 3; id < 200; id += 2) client.send(headersFrame(id, bomb))
  const code = await client.ended()
  t.true(code === Http2ErrorCode.COMPRESSION_ERROR || code === Http2ErrorCode.ENHANCE_YOUR_CALM, `code ${code}`)
})

const floods: [name: string, bytes: Buffer][] = [
  ['SETTINGS', settingsFrame([[Setting.INITIAL_WINDOW_SIZE, 65_535]])],
  ['PING', frame(FrameType.PING, 0, 0, Buffer.alloc(8))],
  ['WINDOW_UPDATE', windowUpdateFrame(0, 1)],
  ['PRIORITY', frame(FrameType.PRIORITY, 0, 1, Buffer.from([0, 0, 0, 3, 16]))],
  ['frames of unknown types', frame(0xfa, 0, 0, Buffer.alloc(4))],
]
for (const [name, bytes] of floods) {
  attack(`${name}: 200,000 of them`, async (t) => {
    const client = await connectRaw(port)
    ask(client, 1, 'first')
    const many = Buffer.concat(Array.from({ length: 1_000 }, () => bytes))
    for (let n = 0; n < 200 && !client.socket.destroyed; n += 1) {
      client.send(many)
      await sleep(0)
    }
    t.is(await client.ended(), Http2ErrorCode.ENHANCE_YOUR_CALM)
  })
}

attack('empty DATA, 200,000 times', async (t) => {
  const client = await connectRaw(port)
  client.send(headersFrame(1, requestHeaders('/test.Raw/Echo')))
  const many = Buffer.concat(Array.from({ length: 1_000 }, () => frame(FrameType.DATA, 0, 1)))
  for (let n = 0; n < 200 && !client.socket.destroyed; n += 1) {
    client.send(many)
    await sleep(0)
  }
  t.is(await client.ended(), Http2ErrorCode.ENHANCE_YOUR_CALM)
})

// Without a look at memory: what the peers hold is in this process too.
test.serial('messages that are never finished, over many connections: together they are bounded, and those that hold most are ended', async (t) => {
  const clients: RawClient[] = []
  const held = Buffer.alloc(limits.frameBytes, 1)
  for (let n = 0; n < 80; n += 1) {
    const client = await connectRaw(port)
    clients.push(client)
    // Three messages of a mebibyte each, of which the last byte does not come.
    for (const id of [1, 3, 5]) {
      const head = Buffer.alloc(5)
      head.writeUInt32BE(limits.messageBytes - 1, 1)
      client.send(Buffer.concat([headersFrame(id, requestHeaders('/test.Raw/Echo')), frame(FrameType.DATA, 0, id, head)]))
      for (let sent = 0; sent + held.length < limits.messageBytes - 1; sent += held.length) client.send(frame(FrameType.DATA, 0, id, held))
    }
  }
  const ended = () => clients.filter(({ socket }) => socket.destroyed).length
  for (let waited = 0; waited < 100 && ended() < 30; waited += 1) await sleep(100)
  t.true(ended() >= 30, `${ended()} of 80 were ended`)
  t.true(ended() < 80, 'those that fit stay')
  const other = await connectRaw(port)
  ask(other, 1, 'others')
  t.is((await other.waitFor(({ type }) => type === FrameType.DATA)).payload.subarray(5).toString(), 'others')
  other.close()
  for (const client of clients) client.close()
})

attack('a window of zero: answers that are never taken are let go', async () => {
  const client = await connectRaw(port)
  client.send(settingsFrame([[Setting.INITIAL_WINDOW_SIZE, 0]]))
  const block = requestHeaders('/test.Raw/Flood')
  for (let id = 1; id < 400; id += 2) client.send(Buffer.concat([headersFrame(id, block), lastData(id, Buffer.from('x'))]))
  await client.waitFor(({ type, streamId }) => type === FrameType.HEADERS && streamId === 399)
  aheadMs += limits.stallMs + 1_000
  await client.waitFor(({ type, streamId }) => type === FrameType.RST_STREAM && streamId === 399)
  client.close()
})

attack('a slow read: who asks and does not read is not answered without end', async (t) => {
  const client = await connectRaw(port)
  client.send(Buffer.concat([settingsFrame([[Setting.INITIAL_WINDOW_SIZE, 2 ** 31 - 1]]), windowUpdateFrame(0, 2 ** 31 - 1 - 65_535)]))
  client.socket.pause()
  const block = requestHeaders('/test.Raw/Flood')
  for (let id = 1; id < 200; id += 2) client.send(Buffer.concat([headersFrame(id, block), lastData(id, Buffer.from('x'))]))
  // Two looks with nothing sent between them.
  await sleep(2_500)
  aheadMs += limits.stallMs + 1_000
  await sleep(2_500)
  client.socket.resume()
  await client.ended()
  t.pass()
})

attack('a slow write: a request that comes a byte at a time is given up', async (t) => {
  const client = await connectRaw(port)
  client.send(headersFrame(1, requestHeaders('/test.Raw/Echo')))
  client.send(frame(FrameType.DATA, 0, 1, Buffer.from([0])))
  await sleep(100)
  aheadMs += limits.stallMs + 1_000
  const { payload } = await client.waitFor(({ type, streamId }) => type === FrameType.RST_STREAM && streamId === 1)
  t.is(payload.readUInt32BE(0), Http2ErrorCode.CANCEL)
  client.close()
})

attack('half-open connections: who never says what it speaks is disconnected', async (t) => {
  const clients = await Promise.all(Array.from({ length: 200 }, () => connectRaw(port, { handshake: false })))
  for (const client of clients.slice(0, 100)) client.send(Buffer.from('PRI * HT'))
  await sleep(100)
  aheadMs += limits.stallMs + 1_000
  const ends = await Promise.all(clients.map((client) => client.ended()))
  t.is(ends.length, 200)
})

attack('a frame that is cut off and never goes on', async (t) => {
  const client = await connectRaw(port)
  client.send(headersFrame(1, requestHeaders('/test.Raw/Echo')).subarray(0, 12))
  await client.waitFor(({ type, flags }) => type === FrameType.SETTINGS && flags === FrameFlag.ACK)
  aheadMs += limits.stallMs + 1_000
  await client.ended()
  t.pass()
})

attack('a header block that is cut off and never goes on', async (t) => {
  const client = await connectRaw(port)
  client.send(headersFrame(1, requestHeaders('/test.Raw/Echo'), 0))
  await client.waitFor(({ type, flags }) => type === FrameType.SETTINGS && flags === FrameFlag.ACK)
  aheadMs += limits.stallMs + 1_000
  await client.ended()
  t.pass()
})

attack('a million streams at once: those beyond the limit are refused', async (t) => {
  const client = await connectRaw(port)
  const block = requestHeaders('/test.Raw/Never')
  for (let n = 0; n < 1_000_000 && !client.socket.destroyed; n += 1_000) {
    const frames: Buffer[] = []
    for (let id = 2 * n + 1; id < 2 * (n + 1_000); id += 2) frames.push(headersFrame(id, block, FrameFlag.END_HEADERS))
    client.send(Buffer.concat(frames))
    if (n % 10_000 === 0) await sleep(0)
  }
  t.is(await client.ended(), Http2ErrorCode.ENHANCE_YOUR_CALM)
  const refused = client.frames.filter(({ type }) => type === FrameType.RST_STREAM)
  t.true(refused.length > 0 && refused.every(({ payload }) => payload.readUInt32BE(0) === Http2ErrorCode.REFUSED_STREAM))
})

attack('a million connections one after another leave nothing behind (here 2,000)', async (t) => {
  for (let n = 0; n < 2_000; n += 100) {
    const clients = await Promise.all(Array.from({ length: 100 }, () => connectRaw(port)))
    for (const client of clients) client.close()
  }
  t.pass()
})

attack('garbage, TLS and HTTP/1.1 are told that this is HTTP/2', async (t) => {
  for (const bytes of [
    Buffer.from('GET / HTTP/1.1\r\nhost: x\r\n\r\n'),
    Buffer.from([0x16, 3, 1, 2, 0, 1, 0]),
    Buffer.alloc(100_000, 0xa5),
    Buffer.from('PRI * HTTP/2.0\r\n\r\nXX'),
  ]) {
    const client = await connectRaw(port, { handshake: false })
    client.send(bytes)
    t.is(await client.ended(), Http2ErrorCode.PROTOCOL_ERROR)
  }
})

attack('frames that no server may be sent end the connection, each with its error', async (t) => {
  const wrong: [bytes: Buffer, code: number][] = [
    [frame(FrameType.PUSH_PROMISE, 0, 1, Buffer.alloc(4)), Http2ErrorCode.PROTOCOL_ERROR],
    [frame(FrameType.DATA, 0, 1, Buffer.alloc(1)), Http2ErrorCode.PROTOCOL_ERROR],
    [headersFrame(2, requestHeaders('/test.Raw/Echo')), Http2ErrorCode.PROTOCOL_ERROR],
    [frame(FrameType.PING, 0, 0, Buffer.alloc(7)), Http2ErrorCode.FRAME_SIZE_ERROR],
    [frame(FrameType.SETTINGS, 0, 0, Buffer.alloc(5)), Http2ErrorCode.FRAME_SIZE_ERROR],
    [windowUpdateFrame(0, 0), Http2ErrorCode.PROTOCOL_ERROR],
    [Buffer.concat([windowUpdateFrame(0, 2 ** 31 - 1), windowUpdateFrame(0, 2 ** 31 - 1)]), Http2ErrorCode.FLOW_CONTROL_ERROR],
    [Buffer.from([255, 255, 255, 0, 0, 0, 0, 0, 1]), Http2ErrorCode.FRAME_SIZE_ERROR],
    [headersFrame(1, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])), Http2ErrorCode.COMPRESSION_ERROR],
    [headersFrame(1, Buffer.from([0x80])), Http2ErrorCode.COMPRESSION_ERROR],
  ]
  for (const [bytes, code] of wrong) {
    const client = await connectRaw(port)
    client.send(bytes)
    t.is(await client.ended(), code, bytes.toString('hex').slice(0, 40))
  }
})

attack('more than the windows allow ends the stream, then the connection', async (t) => {
  const client = await connectRaw(port)
  client.send(headersFrame(1, requestHeaders('/test.Raw/Echo')))
  const prefix = Buffer.from([0, 0, 16, 0, 0])
  client.send(frame(FrameType.DATA, 0, 1, prefix))
  for (let n = 0; n < 80; n += 1) client.send(frame(FrameType.DATA, 0, 1, Buffer.alloc(16_384)))
  const { payload } = await client.waitFor(({ type, streamId }) => type === FrameType.RST_STREAM && streamId === 1)
  t.true([Http2ErrorCode.FLOW_CONTROL_ERROR, Http2ErrorCode.NO_ERROR].includes(payload.readUInt32BE(0) as 0 | 3))
  client.close()
})

attack('who says it goes away is let go', async (t) => {
  const client = await connectRaw(port)
  ask(client, 1, 'last')
  client.send(goAwayFrame(0, Http2ErrorCode.NO_ERROR))
  await client.waitFor(({ type, streamId }) => type === FrameType.DATA && streamId === 1)
  await client.ended()
  t.pass()
})

attack('a large message a byte at a time: nobody waits while it is put together', async (t) => {
  const client = await connectRaw(port)
  client.send(headersFrame(1, requestHeaders('/test.Raw/Echo')))
  client.send(frame(FrameType.DATA, 0, 1, Buffer.from([0, 0, 16, 0, 0])))
  for (let n = 0; n < 55; n += 1) client.send(frame(FrameType.DATA, 0, 1, Buffer.alloc(16_384)))
  const bytes = Buffer.concat(Array.from({ length: 1_000 }, () => frame(FrameType.DATA, 0, 1, Buffer.alloc(1))))
  for (let n = 0; n < 100 && !client.socket.destroyed; n += 1) {
    client.send(bytes)
    await sleep(0)
  }
  t.is(await client.ended(), Http2ErrorCode.ENHANCE_YOUR_CALM)
})

attack('a call whose headers gRPC has no name or value for is a call all the same, and others on its connection go on', async (t) => {
  const client = await connectRaw(port)
  client.send(headersFrame(1, requestHeaders('/test.Raw/Never')))
  client.send(
    Buffer.concat([
      headersFrame(
        3,
        requestHeaders('/test.Raw/Flood', [
          ['x-name', 'Zo\u00eb'],
          ['x$y', 'z'],
        ]),
      ),
      lastData(3, Buffer.from('x')),
    ]),
  )
  await client.waitFor(({ type, streamId }) => type === FrameType.DATA && streamId === 3)
  client.send(Buffer.concat([headersFrame(5, requestHeaders(`/${'a'.repeat(9_000)}`)), lastData(5, Buffer.alloc(0))]))
  const { payload } = await client.waitFor(({ type, streamId }) => type === FrameType.HEADERS && streamId === 5)
  t.true(payload.length < 1_000)
  client.send(windowUpdateFrame(0, 2 ** 30))
  ask(client, 7, 'still here')
  await client.waitFor(({ type, streamId }) => type === FrameType.DATA && streamId === 7)
  client.close()
})
