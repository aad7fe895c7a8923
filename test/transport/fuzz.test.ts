/**
 * Sequences of frames that a seed makes: mostly valid, some wrong, in any order and cut anywhere. Whatever comes, the
 * server neither falls nor stops serving others, and a connection that it ends, it ends with an error of the protocol.
 *
 *   FUZZ_SECONDS=60 FUZZ_SEED=1 npx ava test/transport/fuzz.test.ts
 */
import { setImmediate as turn } from 'node:timers/promises'
import test from 'ava'
import { FrameFlag, FrameType, frame, Http2ErrorCode, rstStreamFrame, settingsFrame, windowUpdateFrame } from '../../sidecar/transport/fast/frames.ts'
import { createFastTransport } from '../../sidecar/transport/fast/transport.ts'
import { echoHandlers, echoService } from '../support/echo-service.ts'
import { connectRaw, headersFrame, lastData, requestHeaders } from '../support/raw-http2.ts'
import { seededRandom } from '../support/seeded-random.ts'

const SECONDS = Number(process.env.FUZZ_SECONDS ?? 5)
const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 1_000_000)

const known = new Set<number>(Object.values(Http2ErrorCode))

test(`frames at random for ${SECONDS} s`, async (t) => {
  t.timeout(SECONDS * 1000 + 60_000)
  const unexpected: unknown[] = []
  const note = (error: unknown) => unexpected.push(error)
  process.on('uncaughtException', note)
  const transport = createFastTransport({ nowMs: Date.now, onFault: note })
  t.teardown(() => transport.close(50))
  transport.addService(echoService, echoHandlers as never)
  const port = await transport.listen({ host: '127.0.0.1', port: 0 })
  const random = seededRandom(SEED)
  const below = (n: number) => Math.floor(random() * n)
  const pick = <T>(of: readonly T[]): T => of[below(of.length)] as T
  const bytes = (most: number) => Buffer.from(Array.from({ length: below(most) }, () => below(256)))
  const paths = ['/test.Raw/Echo', '/test.Raw/Never', '/test.Raw/Flood', '/none', '']
  const blocks = () =>
    pick([
      requestHeaders(pick(paths)),
      requestHeaders('/test.Raw/Echo', [['grpc-timeout', pick(['1m', '5S', 'x', '0n', '99999999H'])]]),
      bytes(40),
      Buffer.alloc(0),
    ])

  let nextId = 1
  const streamId = () => {
    if (random() < 0.5) nextId += 2
    return pick([nextId, nextId, nextId, Math.max(1, nextId - 2), 0, 2, 1, 2 ** 31 - 1])
  }
  const makers: (() => Buffer)[] = [
    () => {
      nextId += 2
      return Buffer.concat([headersFrame(nextId, requestHeaders(pick(paths))), lastData(nextId, bytes(100))])
    },
    () => headersFrame(streamId(), blocks(), below(256)),
    () => frame(FrameType.DATA, below(256), streamId(), bytes(300)),
    () => frame(FrameType.CONTINUATION, pick([0, FrameFlag.END_HEADERS]), streamId(), blocks()),
    () => rstStreamFrame(streamId(), below(20)),
    () => settingsFrame([[below(8), pick([0, 1, 100, 16_384, 65_535, 2 ** 24, 2 ** 31 - 1])]]),
    () => frame(FrameType.SETTINGS, pick([0, 1]), pick([0, 1]), bytes(14)),
    () => frame(FrameType.PING, pick([0, 1]), 0, pick([Buffer.alloc(8), bytes(10)])),
    () => windowUpdateFrame(streamId(), pick([0, 1, 65_535, 2 ** 31 - 1])),
    () => frame(FrameType.PRIORITY, 0, streamId(), pick([Buffer.from([0, 0, 0, 0, 1]), bytes(8)])),
    () => frame(below(256), below(256), streamId(), bytes(60)),
    () => bytes(60),
  ]

  const until = Date.now() + SECONDS * 1000
  let [connections, frames, asked] = [0, 0, 0]
  const codes = new Map<number | undefined, number>()
  while (Date.now() < until) {
    nextId = 1
    connections += 1
    const client = await connectRaw(port, { handshake: random() < 0.97 })
    const wildness = pick([0.05, 0.3, 1])
    for (let n = 0; n < 60 && !client.socket.destroyed; n += 1) {
      frames += 1
      let one = (random() < wildness ? pick(makers) : (makers[0] as () => Buffer))()
      if (random() < 0.02 * wildness) {
        one = Buffer.from(one)
        if (one.length > 0) one[below(one.length)] = below(256)
      }
      const cut = random() < 0.2 ? below(one.length + 1) : one.length
      client.send(one.subarray(0, cut))
      if (random() < 0.3) await turn()
      if (cut < one.length) client.send(one.subarray(cut))
    }
    if (connections % 20 === 0) {
      // Others are served.
      asked += 1
      const other = await connectRaw(port)
      other.send(Buffer.concat([headersFrame(1, requestHeaders('/test.Raw/Echo')), lastData(1, Buffer.from('still here'))]))
      const { payload } = await other.waitFor(({ type, streamId: of }) => type === FrameType.DATA && of === 1)
      t.is(payload.subarray(5).toString(), 'still here')
      other.close()
    }
    await turn()
    // A fault of ours with one call ends that call alone; it is one all the same.
    const fault = client.frames.find(({ type, payload }) => type === FrameType.RST_STREAM && payload.readUInt32BE(0) === Http2ErrorCode.INTERNAL_ERROR)
    if (fault) t.fail(`FUZZ_SEED=${SEED}: RST_STREAM of ${fault.streamId} says INTERNAL_ERROR`)
    const goAway = client.frames.find(({ type }) => type === FrameType.GOAWAY)
    const code = goAway?.payload.readUInt32BE(4)
    codes.set(code, (codes.get(code) ?? 0) + 1)
    if (code !== undefined && (!known.has(code) || code === Http2ErrorCode.INTERNAL_ERROR))
      t.fail(`FUZZ_SEED=${SEED}: GOAWAY ${code}: ${goAway?.payload.subarray(8)}`)
    client.close()
  }
  process.off('uncaughtException', note)
  t.log(`FUZZ_SEED=${SEED}: ${connections} connections, ${frames} frames, ${asked} looks from beside; GOAWAY ${JSON.stringify([...codes])}`)
  t.deepEqual(unexpected, [])
})
