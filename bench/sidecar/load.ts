/**
 * The load generator, in a process of its own. Real traffic is not one repeated request: customer, entitlement and
 * `grpc-timeout` vary with every call, and headers are written as grpc-go writes them (indexed where they repeat, the
 * timeout added to the table).
 *
 *   node bench/sidecar/load.ts <port> '{"connections": 8, "streams": 16, "seconds": 5, …}'
 *
 * Closed loop: each connection has so many calls under way. With `rate` it is open: calls are made when they are due,
 * whether or not others were answered, and latency counts from then (no coordinated omission).
 * Prints one line of JSON: calls, errors, per second, latencies in microseconds.
 */
import { connect, type Socket } from 'node:net'
import { BatchCheckEntitlementsRequest, CheckEntitlementRequest } from '../../proto/gen/entitlement/v1/entitlement.ts'
import {
  FRAME_HEADER_BYTES,
  FrameFlag,
  FrameType,
  pingAck,
  settingsAck,
  settingsFrame,
  windowUpdateFrame,
  writeFrameHeader,
} from '../../sidecar/transport/fast/frames.ts'
import { Histogram } from './histogram.ts'
import { customerId, keys, STOREFRONT, TENANT } from './population.ts'

interface Options {
  connections: number
  streams: number
  seconds: number
  /** Calls a second over all connections; without, as many as are answered. */
  rate?: number
  customers: number
  /** One repeated request, as h2load makes it. */
  same?: boolean
  /** Checks in each call. */
  batch?: number
  /** Of a batch. */
  oneCustomer?: boolean
  warmupSeconds?: number
  /** Another service's method, and its message in base64. */
  rawPath?: string
  rawMessage?: string
  /** Customers that nobody has asked about before. */
  cold?: boolean
  /** Instead of the port. */
  socketPath?: string
  /** This share of the connections consumes, and the others check. */
  consuming?: number
  /** One entitlement, instead of those of the population. */
  entitlement?: string
  /** The only customer. */
  customer?: string
}

const [port = '0', json = '{}'] = process.argv.slice(2)
const options: Options = { connections: 8, streams: 16, seconds: 3, customers: 100_000, warmupSeconds: 1, ...(JSON.parse(json) as Partial<Options>) }
const batch = options.batch ?? 0
const path = options.rawPath ?? `/entitlement.v1.EntitlementService/${batch > 0 ? 'BatchCheckEntitlements' : 'CheckEntitlement'}`
/** Its message has a check's first fields. */
const CONSUME_PATH = '/entitlement.v1.EntitlementService/ConsumeEntitlement'

// xorshift32: quick, and the same sequence in every run.
let state = 2463534242
const random = (below: number): number => {
  state ^= state << 13
  state ^= state >>> 17
  state ^= state << 5
  return (state >>> 0) % below
}

let nextCold = 0
const check = () => ({
  tenantId: TENANT,
  storefrontId: STOREFRONT,
  customerId: options.customer ?? customerId(options.cold ? nextCold++ : options.same ? 1 : random(options.customers)),
  entitlement: options.entitlement ?? (options.same ? (keys[0] as string) : (keys[random(keys.length)] as string)),
  amount: 0n,
  minRevision: 0n,
})
/** A call asks about one customer, each time for another of its entitlements. */
const checksOfOne = () => {
  const one = check()
  return Array.from({ length: batch }, (_, n) => ({ ...one, entitlement: keys[n % keys.length] as string }))
}
const message = (): Buffer =>
  Buffer.from(
    options.rawMessage
      ? Buffer.from(options.rawMessage, 'base64')
      : batch > 0
        ? BatchCheckEntitlementsRequest.encode({ checks: options.oneCustomer ? checksOfOne() : Array.from({ length: batch }, check) }).finish()
        : CheckEntitlementRequest.encode(check()).finish(),
  )
// Made beforehand: the generator is not what is measured.
const POOL = options.same ? 1 : batch > 100 ? 200 : batch > 0 ? 2_000 : 100_000
const pool = options.cold ? [] : Array.from({ length: POOL }, message)

const string = (text: string): Buffer => Buffer.from([text.length, ...Buffer.from(text)])
const literal = (name: string | number, value: string, indexed = true): Buffer => {
  const head = typeof name === 'number' ? [(indexed ? 0x40 : 0) | name] : [indexed ? 0x40 : 0, name.length, ...Buffer.from(name)]
  return Buffer.from([...head, value.length, ...Buffer.from(value)])
}
/** The first block of a connection puts these into the table; later ones name them by index, newest first. */
const firstBlockOf = (of: string): Buffer =>
  Buffer.concat([
    Buffer.from([0x83, 0x86]),
    literal(4, of),
    literal(1, '127.0.0.1'),
    literal('content-type', 'application/grpc'),
    literal('user-agent', 'grpc-go/1.75.0'),
    literal('te', 'trailers'),
  ])
const TABLE = 5

/** Fields that the table holds by then, and timeouts after them. */
const WARM = 40
const RING = 1 << 16

/** HEADERS and DATA of one call once the table is warm, for any stream: its id is written into them. */
interface Prepared {
  bytes: Buffer
  framesAt: readonly number[]
}

/** A use may wait for its ledger: who counts is more patient than who checks. */
const timeoutText = (): string => (options.consuming === undefined ? `${20_000 + random(79_999)}u` : `${5_000 + random(999)}m`)
const indexedFields = (added: number): number[] => [0x83, 0x86, ...Array.from({ length: TABLE }, (_, n) => 0x80 | (62 + added + TABLE - 1 - n))]

const MAX_FRAME_BYTES = 16_384

const prepare = (block: Buffer, body: Buffer): Prepared => {
  const message = Buffer.alloc(5 + body.length)
  message.writeUInt32BE(body.length, 1)
  message.set(body, 5)
  const frames = Math.ceil(message.length / MAX_FRAME_BYTES)
  const bytes = Buffer.allocUnsafe((1 + frames) * FRAME_HEADER_BYTES + block.length + message.length)
  let at = writeFrameHeader(bytes, 0, block.length, FrameType.HEADERS, FrameFlag.END_HEADERS, 0)
  bytes.set(block, at)
  at += block.length
  const framesAt = [0]
  for (let from = 0; from < message.length; from += MAX_FRAME_BYTES) {
    const part = message.subarray(from, from + MAX_FRAME_BYTES)
    framesAt.push(at)
    at = writeFrameHeader(bytes, at, part.length, FrameType.DATA, from + part.length === message.length ? FrameFlag.END_STREAM : 0, 0)
    bytes.set(part, at)
    at += part.length
  }
  return { bytes, framesAt }
}

/** The timeout's name is in the table; its value is written out, and not added: a full table would let go of the fields. */
const warmBlock = (): Buffer =>
  options.same ? Buffer.from(indexedFields(0)) : Buffer.concat([Buffer.from([...indexedFields(WARM), 0x0f, 62 + WARM - 1 - 15]), string(timeoutText())])
const prepared = pool.map((body) => prepare(warmBlock(), body))

class Connection {
  readonly socket: Socket
  readonly #in = Buffer.allocUnsafeSlow(1 << 16)
  #streamId = 1
  #added = 0
  #pending: Buffer | undefined
  readonly #started = new Float64Array(RING)
  #owed = 0
  #out = Buffer.allocUnsafeSlow(1 << 20)
  #outAt = 0

  readonly #firstBlock: Buffer
  readonly #consumes: boolean

  constructor(consumes: boolean, onConnect: () => void) {
    this.#consumes = consumes
    this.#firstBlock = firstBlockOf(consumes ? CONSUME_PATH : path)
    // What is read is read into one buffer: the generator's own garbage would be measured too.
    const onread = {
      buffer: this.#in,
      callback: (length: number) => {
        this.#onData(this.#in.subarray(0, length))
        return true
      },
    }
    this.socket = connect(options.socketPath === undefined ? { port: Number(port), host: '127.0.0.1', onread } : { path: options.socketPath, onread })
    this.socket.setNoDelay(true)
    this.socket.on('connect', () => {
      this.socket.write(Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), settingsFrame([[4, 2 ** 24]]), windowUpdateFrame(0, 2 ** 30)]))
      onConnect()
    })
    this.socket.on('error', (error) => {
      throw error
    })
  }

  /** One more call, sent with the next `flush`. */
  call(fromUs: number): void {
    const id = this.#streamId
    this.#streamId += 2
    this.#started[(id >>> 1) & (RING - 1)] = fromUs
    const isWarm = (options.same ? id > 1 : this.#added >= WARM) && !options.cold
    const { bytes, framesAt } = isWarm
      ? (prepared[random(prepared.length)] as Prepared)
      : prepare(this.#coldBlock(id), options.cold ? message() : (pool[random(pool.length)] as Buffer))
    if (this.#outAt + bytes.length > this.#out.length) {
      this.flush()
      // What was flushed may still be on its way: it is never written to again.
      this.#out = Buffer.allocUnsafeSlow(1 << 20)
      this.#outAt = 0
      this.#from = 0
    }
    const at = this.#outAt
    this.#out.set(bytes, at)
    for (const frameAt of framesAt) this.#out.writeUInt32BE(id, at + frameAt + 5)
    this.#outAt += bytes.length
  }
  #from = 0

  flush(): void {
    if (this.#from === this.#outAt) return
    this.socket.write(this.#out.subarray(this.#from, this.#outAt))
    this.#from = this.#outAt
  }

  #coldBlock(id: number): Buffer {
    if (options.same) return id === 1 ? this.#firstBlock : warmBlock()
    const timeout = timeoutText()
    const fields = id === 1 ? this.#firstBlock : Buffer.from(indexedFields(this.#added))
    if (this.#added >= WARM) return Buffer.concat([fields, Buffer.from([0x0f, 62 + WARM - 1 - 15]), string(timeout)])
    this.#added += 1
    if (this.#added === 1) return Buffer.concat([fields, literal('grpc-timeout', timeout)])
    // The oldest timeout is the last but five of the table.
    const name = 62 + this.#added - 2
    return Buffer.concat([fields, Buffer.from(name >= 63 ? [0x7f, name - 63] : [0x40 | name]), string(timeout)])
  }

  #onData(chunk: Buffer): void {
    const bytes = this.#pending ? Buffer.concat([this.#pending, chunk]) : chunk
    this.#pending = undefined
    const nowUs = performance.now() * 1000
    let at = 0
    let ended = 0
    while (at + FRAME_HEADER_BYTES <= bytes.length) {
      const length = ((bytes[at] as number) << 16) | ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number)
      const end = at + FRAME_HEADER_BYTES + length
      if (end > bytes.length) break
      const type = bytes[at + 3] as number
      const flags = bytes[at + 4] as number
      if (type === FrameType.DATA || type === FrameType.HEADERS) {
        if (type === FrameType.DATA) this.#owed += length
        if ((flags & FrameFlag.END_STREAM) !== 0) {
          const id = ((bytes[at + 5] as number) << 24) | ((bytes[at + 6] as number) << 16) | ((bytes[at + 7] as number) << 8) | (bytes[at + 8] as number)
          // An answer that is nothing but its end says why: it is longer than an ok one's trailers. A file ends with its data.
          done(nowUs - (this.#started[(id >>> 1) & (RING - 1)] as number), type === FrameType.DATA || length < 30, this.#consumes)
          ended += 1
        }
      } else this.#onControl(type, flags, bytes.subarray(at + 9, end))
      at = end
    }
    if (at < bytes.length) this.#pending = Buffer.from(bytes.subarray(at))
    if (this.#owed > 2 ** 22) {
      this.socket.write(windowUpdateFrame(0, this.#owed))
      this.#owed = 0
    }
    if (!running || options.rate !== undefined) return
    for (let n = 0; n < ended; n += 1) this.call(nowUs)
    this.flush()
  }

  #onControl(type: number, flags: number, payload: Buffer): void {
    if (type === FrameType.RST_STREAM || type === FrameType.GOAWAY)
      throw new Error(`the server sent ${type === FrameType.GOAWAY ? 'GOAWAY' : 'RST_STREAM'} ${payload.toString('latin1')}`)
    if (type === FrameType.SETTINGS && (flags & FrameFlag.ACK) === 0) this.socket.write(settingsAck)
    if (type === FrameType.PING && (flags & FrameFlag.ACK) === 0) this.socket.write(pingAck(payload))
  }
}

const histogram = new Histogram()
let running = true
let measuring = false
let calls = 0
let errors = 0
const consumes = { calls: 0, histogram: new Histogram() }
const done = (us: number, ok: boolean, isConsume: boolean): void => {
  if (!measuring) return
  if (!ok) errors += 1
  if (isConsume) {
    consumes.calls += 1
    consumes.histogram.add(us)
    return
  }
  calls += 1
  histogram.add(us)
}

const connections = await Promise.all(
  Array.from(
    { length: options.connections },
    (_, n) =>
      new Promise<Connection>((resolve) => {
        const made: Connection = new Connection(n < (options.consuming ?? 0) * options.connections, () => resolve(made))
      }),
  ),
)
// What preparing has left behind is not collected while something is measured.
globalThis.gc?.()
const begin = performance.now()
if (options.rate === undefined) {
  for (const connection of connections) {
    for (let n = 0; n < options.streams; n += 1) connection.call(performance.now() * 1000)
    connection.flush()
  }
} else {
  const { rate } = options
  let made = 0
  const tick = () => {
    if (!running) return
    const due = Math.floor(((performance.now() - begin) / 1000) * rate) + 1
    for (; made < due; made += 1) connections[made % connections.length]?.call((begin + (made / rate) * 1000) * 1000)
    for (const connection of connections) connection.flush()
    setImmediate(tick)
  }
  tick()
}
setTimeout(
  () => {
    measuring = true
    const from = performance.now()
    process.send?.('measuring')
    setTimeout(() => {
      const seconds = (performance.now() - from) / 1000
      running = false
      const perSecond = calls / seconds
      const measured = JSON.stringify({
        calls,
        errors,
        perSecond,
        checksPerSecond: perSecond * Math.max(1, batch),
        p50: histogram.at(0.5),
        p99: histogram.at(0.99),
        p999: histogram.at(0.999),
        max: histogram.max,
        ...(options.consuming === undefined
          ? {}
          : {
              consumes: consumes.calls,
              consumesPerSecond: consumes.calls / seconds,
              consumeP50: consumes.histogram.at(0.5),
              consumeP99: consumes.histogram.at(0.99),
            }),
      })
      process.stdout.write(`${measured}\n`, () => process.exit(0))
    }, options.seconds * 1000)
  },
  (options.warmupSeconds ?? 1) * 1000,
)
