/** A client of HTTP/2 that sends what it is told, however wrong: for what no well-behaved client does. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { FRAME_HEADER_BYTES, FrameFlag, FrameType, frame, settingsFrame } from '../../sidecar/transport/fast/frames.ts'
import { encodeHeaders } from '../../sidecar/transport/fast/hpack/encoder.ts'

const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')

export interface RawFrame {
  type: number
  flags: number
  streamId: number
  payload: Buffer
}

export const requestHeaders = (path: string, extra: readonly (readonly [string, string])[] = []): Buffer =>
  encodeHeaders([
    [':method', 'POST'],
    [':scheme', 'http'],
    [':path', path],
    [':authority', 'localhost'],
    ['content-type', 'application/grpc'],
    ['te', 'trailers'],
    ...extra,
  ])

export const headersFrame = (streamId: number, block: Buffer, flags: number = FrameFlag.END_HEADERS): Buffer => frame(FrameType.HEADERS, flags, streamId, block)

/** A gRPC message as the DATA frame that ends its stream. */
export const lastData = (streamId: number, message: Buffer): Buffer => {
  const prefix = Buffer.alloc(5)
  prefix.writeUInt32BE(message.length, 1)
  return frame(FrameType.DATA, FrameFlag.END_STREAM, streamId, Buffer.concat([prefix, message]))
}

export interface RawClient {
  socket: Socket
  /** Every frame that has come, in order. */
  frames: RawFrame[]
  send(bytes: Buffer): void
  /** Resolves with the first frame that `is` says it is, of those that have come or will. @throws Error when the connection ends first. */
  waitFor(is: (frame: RawFrame) => boolean): Promise<RawFrame>
  /** Resolves when the server has ended the connection, with the code of its GOAWAY, if it sent one. */
  ended(): Promise<number | undefined>
  close(): void
}

export const connectRaw = async (port: number, options: { handshake?: boolean } = {}): Promise<RawClient> => {
  const socket = connect(port, '127.0.0.1')
  await once(socket, 'connect')
  const frames: RawFrame[] = []
  const looks = new Set<() => void>()
  let pending: Buffer = Buffer.alloc(0)
  let closed = false
  const tell = () => {
    for (const look of [...looks]) look()
  }
  socket.on('error', () => undefined)
  socket.on('close', () => {
    closed = true
    tell()
  })
  socket.on('data', (chunk: Buffer) => {
    pending = pending.length > 0 ? Buffer.concat([pending, chunk]) : chunk
    while (pending.length >= FRAME_HEADER_BYTES) {
      const end = FRAME_HEADER_BYTES + pending.readUIntBE(0, 3)
      if (pending.length < end) break
      frames.push({ type: pending[3] ?? 0, flags: pending[4] ?? 0, streamId: pending.readUInt32BE(5), payload: pending.subarray(FRAME_HEADER_BYTES, end) })
      pending = pending.subarray(end)
    }
    tell()
  })
  if (options.handshake !== false) socket.write(Buffer.concat([preface, settingsFrame([])]))
  const when = <T>(look: () => { value: T } | undefined) =>
    new Promise<T>((resolve, reject) => {
      const again = () => {
        const found = look()
        if (found) resolve(found.value)
        else if (closed) reject(new Error('the connection ended first'))
        else return
        looks.delete(again)
      }
      looks.add(again)
      again()
    })
  return {
    socket,
    frames,
    send: (bytes) => {
      if (!socket.destroyed) socket.write(bytes)
    },
    waitFor: (is) =>
      when(() => {
        const value = frames.find(is)
        return value && { value }
      }),
    ended: () => when(() => (closed ? { value: frames.find(({ type }) => type === FrameType.GOAWAY)?.payload.readUInt32BE(4) } : undefined)),
    close: () => socket.destroy(),
  }
}
