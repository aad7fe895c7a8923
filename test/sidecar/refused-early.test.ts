/** Who may not ask makes a sidecar keep nothing; what can be called is told only where that is wanted. */
import test from 'ava'
import { FrameFlag, FrameType, frame } from '../../sidecar/transport/fast/frames.ts'
import { connectRaw, headersFrame, requestHeaders } from '../support/raw-http2.ts'
import { openSidecar } from '../support/sidecar.ts'

const KEY = 'a-key-of-an-application-0001'
const keys = { SIDECAR_KEYS: `{"${KEY}": ["acme"]}` }
const path = '/entitlement.v1.EntitlementService/CheckEntitlement'

/** The first piece of a message of a megabyte, of which no more comes. */
const begun = (streamId: number): Buffer => {
  const prefix = Buffer.alloc(5)
  prefix.writeUInt32BE(1_000_000, 1)
  return frame(FrameType.DATA, 0, streamId, Buffer.concat([prefix, Buffer.alloc(10_000)]))
}

test('a message that is not whole is not kept for a caller without a key, or with a wrong one', async (t) => {
  const sidecar = await openSidecar(keys)
  t.teardown(sidecar.close)
  const client = await connectRaw(Number(sidecar.address.split(':').at(-1)))
  t.teardown(() => client.close())
  const wrong: [string, string][][] = [[], [['authorization', 'Bearer wrong']]]
  for (const [n, extra] of wrong.entries()) {
    const id = 2 * n + 1
    client.send(Buffer.concat([headersFrame(id, requestHeaders(path, extra)), begun(id)]))
    const { flags } = await client.waitFor((one) => one.streamId === id && one.type === FrameType.HEADERS)
    t.true((flags & FrameFlag.END_STREAM) !== 0, 'refused, though the message has not come')
  }
  // Who has one is waited for.
  client.send(Buffer.concat([headersFrame(5, requestHeaders(path, [['authorization', `Bearer ${KEY}`]])), begun(5)]))
  client.send(frame(FrameType.PING, 0, 0, Buffer.alloc(8)))
  await client.waitFor((one) => one.type === FrameType.PING && (one.flags & FrameFlag.ACK) !== 0)
  t.false(client.frames.some((one) => one.streamId === 5 && one.type === FrameType.HEADERS))
})

test('reflection is there, or not, as GRPC_REFLECTION says', async (t) => {
  for (const [wanted, isThere] of [
    ['true', true],
    ['false', false],
  ] as const) {
    const sidecar = await openSidecar({ GRPC_REFLECTION: wanted })
    const client = await connectRaw(Number(sidecar.address.split(':').at(-1)))
    client.send(headersFrame(1, requestHeaders('/grpc.reflection.v1.ServerReflection/ServerReflectionInfo')))
    client.send(frame(FrameType.PING, 0, 0, Buffer.alloc(8)))
    await client.waitFor((one) => one.type === FrameType.PING && (one.flags & FrameFlag.ACK) !== 0)
    t.is(
      client.frames.some((one) => one.streamId === 1 && one.type === FrameType.HEADERS),
      !isThere,
      'what is not there is refused at once',
    )
    client.close()
    await sidecar.close()
  }
})
