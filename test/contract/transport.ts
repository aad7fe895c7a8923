/** What both transports of the sidecar have to do, seen by a client that did not come with either. */
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type ChannelCredentials,
  type ChannelOptions,
  Client,
  compressionAlgorithms,
  credentials,
  Metadata,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
  type ServiceError,
  status as Status,
  type sendUnaryData,
} from '@grpc/grpc-js'
import type { ExecutionContext, TestFn } from 'ava'
import { untilDrained } from '../../sidecar/service/until-drained.ts'
import type { Transport } from '../../sidecar/transport/transport.ts'

const same = (bytes: Buffer) => bytes
const method = (name: string, requestStream: boolean, responseStream: boolean) => ({
  path: `/test.Echo/${name}`,
  requestStream,
  responseStream,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
})
const echo = {
  unary: method('Unary', false, false),
  fail: method('Fail', false, false),
  late: method('Late', false, false),
  count: method('Count', false, true),
  both: method('Both', true, true),
} satisfies ServiceDefinition

/** A handler's own view of what happened to its call. */
const seen: string[] = []

const implementation = {
  unary: (call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) =>
    callback(null, Buffer.concat([Buffer.from(String(call.metadata.get('x-who')[0] ?? '')), call.request])),
  fail: (_: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) =>
    callback({ code: Status.FAILED_PRECONDITION, details: 'es fehlt noch: 50 % – später' }),
  late: (call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) => {
    setTimeout(() => {
      seen.push(call.cancelled ? 'late cancelled' : 'late answered')
      callback(null, Buffer.from(String(Math.round(Number(call.getDeadline()) - Date.now()) > 0)))
    }, 300)
  },
  count: async (call: ServerWritableStream<Buffer, Buffer>) => {
    call.on('cancelled', () => seen.push('count cancelled'))
    seen.push('count began')
    const [times = 0, bytes = 0] = call.request.toString().split(' ').map(Number)
    for (let n = 0; n < times && !call.cancelled; n += 1) {
      if (!call.write(Buffer.alloc(bytes, n % 256))) await untilDrained(call)
    }
    if (times > 0) call.end()
  },
  both: (call: ServerDuplexStream<Buffer, Buffer>) => {
    call.on('data', (bytes: Buffer) => call.write(Buffer.from(bytes).reverse()))
    call.on('end', () => call.end())
  },
}

export interface Carried {
  /** Where it listens: on TCP without. */
  path?: string
  credentials?: ChannelCredentials
}

/** @param carried over what: plaintext on TCP without. */
export const testTransport = (test: TestFn, name: string, create: () => Transport, carried: Carried = {}): void => {
  const secrets = carried.credentials ?? credentials.createInsecure()
  const listen = async (on: Transport, nth: string): Promise<string> => {
    const path = carried.path && `${carried.path}${nth}`
    const port = await on.listen(path ? { path } : { host: '127.0.0.1', port: 0 })
    return path ? `unix:${path}` : `127.0.0.1:${port}`
  }

  let transport: Transport
  let address = ''
  const story = (title: string, run: (t: ExecutionContext) => Promise<void>) => test.serial(`${name}: ${title}`, run)
  const open = (options: ChannelOptions = {}) => new Client(address, secrets, { 'grpc.max_receive_message_length': 64 * 1024 * 1024, ...options })
  const unary = (client: Client, which: keyof typeof echo, bytes: Buffer, settings: { metadata?: Metadata; deadlineMs?: number } = {}) =>
    new Promise<{ error: ServiceError | null; answer: Buffer | undefined; cancel: () => void }>((resolve) => {
      const deadline = settings.deadlineMs === undefined ? {} : { deadline: Date.now() + settings.deadlineMs }
      const call = client.makeUnaryRequest(echo[which].path, same, same, bytes, settings.metadata ?? new Metadata(), deadline, (error, answer) =>
        resolve({ error, answer, cancel }),
      )
      const cancel = () => call.cancel()
    })

  test.before(async () => {
    transport = create()
    transport.addService(echo, implementation as never)
    address = await listen(transport, '')
  })
  test.after.always(() => transport.close(100))

  story('a call is answered, with its metadata, and many at once each with its own', async (t) => {
    const client = open()
    const metadata = new Metadata()
    metadata.set('x-who', 'anna')
    const { answer } = await unary(client, 'unary', Buffer.from(' asks'), { metadata })
    t.is(answer?.toString(), 'anna asks')
    const many = await Promise.all(Array.from({ length: 2_000 }, (_, n) => unary(client, 'unary', Buffer.from(`call ${n}`))))
    t.deepEqual(
      many.map((one) => one.answer?.toString()),
      many.map((_, n) => `call ${n}`),
    )
    t.is((await unary(client, 'unary', Buffer.alloc(0))).answer?.length, 0)
    client.close()
  })

  story('an error has its code and its words, whatever they are written in', async (t) => {
    const client = open()
    const { error } = await unary(client, 'fail', Buffer.alloc(1))
    t.is(error?.code, Status.FAILED_PRECONDITION)
    t.is(error?.details, 'es fehlt noch: 50 % – später')
    const unknown = await new Promise<ServiceError | null>((resolve) => {
      client.makeUnaryRequest('/test.Echo/Nothing', same, same, Buffer.alloc(1), (error_) => resolve(error_))
    })
    t.is(unknown?.code, Status.UNIMPLEMENTED)
    client.close()
  })

  story('a deadline is kept, and the handler knows it', async (t) => {
    const client = open()
    t.is((await unary(client, 'late', Buffer.alloc(1), { deadlineMs: 5_000 })).answer?.toString(), 'true')
    const from = Date.now()
    const { error } = await unary(client, 'late', Buffer.alloc(1), { deadlineMs: 50 })
    t.is(error?.code, Status.DEADLINE_EXCEEDED)
    t.true(Date.now() - from < 290)
    client.close()
  })

  story('large messages go through in both directions; too large ones are refused, and the connection goes on', async (t) => {
    const client = open({ 'grpc.max_send_message_length': 64 * 1024 * 1024 })
    const large = Buffer.alloc(900_000, 7)
    t.deepEqual((await unary(client, 'unary', large)).answer, large)
    const many = await Promise.all(Array.from({ length: 20 }, () => unary(client, 'unary', large)))
    t.true(many.every(({ answer }) => answer?.length === large.length))
    t.is((await unary(client, 'unary', Buffer.alloc(8 * 1024 * 1024))).error?.code, Status.RESOURCE_EXHAUSTED)
    t.is((await unary(client, 'unary', Buffer.from('still here'))).answer?.toString(), 'still here')
    client.close()
  })

  story('a stream brings everything in order, however slowly it is read', async (t) => {
    const client = open()
    const call = client.makeServerStreamRequest(echo.count.path, same, same, Buffer.from('300 20000'))
    let got = 0
    for await (const bytes of call as AsyncIterable<Buffer>) {
      t.is(bytes[0], got % 256)
      t.is(bytes.length, 20_000)
      got += 1
      if (got % 100 === 0) await sleep(30)
    }
    t.is(got, 300)
    client.close()
  })

  story('a caller that cancels is sent nothing more, and the handler is told', async (t) => {
    const client = open()
    seen.length = 0
    const call = client.makeServerStreamRequest(echo.count.path, same, same, Buffer.from('0 0'))
    const ended = new Promise<ServiceError>((resolve) => call.on('error', resolve as never))
    // A machine under load may take a while to connect: what has not begun cannot be told of its end.
    for (let n = 0; n < 1_000 && !seen.includes('count began'); n += 1) await sleep(10)
    call.cancel()
    t.is((await ended).code, Status.CANCELLED)
    for (let n = 0; n < 100 && !seen.includes('count cancelled'); n += 1) await sleep(10)
    t.true(seen.includes('count cancelled'))
    client.close()
  })

  story('messages flow both ways on one stream', async (t) => {
    const client = open()
    const call = client.makeBidiStreamRequest(echo.both.path, same, same)
    const got: string[] = []
    call.on('data', (bytes: Buffer) => got.push(bytes.toString()))
    const ended = new Promise((resolve) => call.on('end', resolve))
    for (const text of ['abc', 'de', 'f']) call.write(Buffer.from(text))
    call.end()
    await ended
    t.deepEqual(got, ['cba', 'ed', 'f'])
    client.close()
  })

  if (name.startsWith('fast')) {
    story('compressed requests are refused properly', async (t) => {
      const client = open({ 'grpc.default_compression_algorithm': compressionAlgorithms.gzip })
      const { error } = await unary(client, 'unary', Buffer.alloc(10_000))
      t.is(error?.code, Status.UNIMPLEMENTED)
      client.close()
    })
  }

  story('a drain lets calls finish, ends the connection, and takes no more', async (t) => {
    const another = create()
    another.addService(echo, implementation as never)
    const client = new Client(await listen(another, '.another'), secrets)
    const running = unary(client, 'late', Buffer.alloc(1))
    await sleep(100)
    const closed = another.close(5_000)
    t.is((await running).error, null)
    await closed
    t.is((await unary(client, 'unary', Buffer.alloc(1), { deadlineMs: 300 })).answer, undefined)
    client.close()
  })
}
