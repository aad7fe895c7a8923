/**
 * What the stand-ins of the providers have in common: a real HTTP server with a ledger, idempotency by the provider's
 * own key, faults on demand, and webhooks. What a provider's API looks like is in the file of each, written from its
 * public reference.
 *
 * A token says what happens: `ok…` succeeds, `decline:<code>` is declined with the provider's own code, `sca`, `pending`,
 * `strange` (a status that nobody knows).
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '../free-port.ts'

export type ChargeStatus = 'captured' | 'authorized' | 'pending' | 'requires_action' | 'declined' | 'released' | 'strange'

export interface FakeCharge {
  /** Ours. */
  reference: string
  /** The provider's. */
  id: string
  /** As the provider was asked for it, in the provider's own units. */
  amount: number
  currency: string
  status: ChargeStatus
  code?: string
  refunds: FakeRefund[]
}

export interface FakeRefund {
  reference: string
  id: string
  amount: number
  status: 'succeeded' | 'pending' | 'failed'
}

/** A webhook that was set up by the provider's API. */
export interface FakeWebhook {
  id: string
  url: string
  events: string[]
  active: boolean
  /** What it signs with; for a provider that signs by the id, the id. */
  secret: string
}

export interface FakeRequest {
  method: string
  path: string
  query: URLSearchParams
  headers: Record<string, string | undefined>
  body: string
}

export interface FakeAnswer {
  status: number
  body?: unknown
  headers?: Record<string, string>
}

/** What goes wrong with the next charge. `before` and `after`: whether the provider has acted by then. */
export type Fault = 'timeout before' | 'timeout after' | '429' | '500 before' | '500 after' | 'malformed answer' | 'slow answer' | 'reset after'

export type WebhookMode = 'once' | 'twice' | 'before the answer' | 'never'

export interface ProviderApi {
  name: string
  /** Whether faults may hit this request: it asks for a charge. */
  isCharge(request: FakeRequest): boolean
  /** Whether it asks for a capture, a release or a cancellation. */
  isOperation(request: FakeRequest): boolean
  /** What the provider answers to an operation that it refuses. */
  refusal: FakeAnswer
  /** The key under which a request is answered once. */
  keyOf(request: FakeRequest): string | undefined
  /** Whether a failure of the provider is answered again under its key, as Stripe does. */
  repeatsFailures?: boolean
  handle(request: FakeRequest): FakeAnswer | Promise<FakeAnswer>
  rateLimited: FakeAnswer
  failed: FakeAnswer
  /** An event about a charge, signed; undefined where the provider sends none. */
  event(charge: FakeCharge, seq: number): { headers: Record<string, string>; body: string; query?: string } | undefined
}

export interface FakePsp {
  url: string
  charges(): FakeCharge[]
  charge(reference: string): FakeCharge | undefined
  /** The body of the last request for a charge, as it arrived. */
  lastOrder(): string
  /** The next charge meets this. */
  failNext(fault: Fault, times?: number): void
  /** The next capture, release or cancellation is answered so; before, or after it is done all the same. */
  answerNext(answer: FakeAnswer | 'refusal' | 'rate limited' | 'failed', when: 'before' | 'after'): void
  webhooks: { url: string | undefined; mode: WebhookMode }
  /** What a customer does, or a bank in its own time. */
  conclude(reference: string, status: 'captured' | 'authorized' | 'declined'): Promise<void>
  send(event: { headers: Record<string, string>; body: string; query?: string }): Promise<number>
  /** Stops listening, and comes back on the same port. */
  down(): Promise<void>
  up(): Promise<void>
  /** As providers do after some time: a repeated request is a new one. */
  forgetKeys(): void
  /** Resolves when no webhook is under way. */
  quiet(): Promise<void>
  /** How far the control plane's clock has been moved on: events are signed by it. */
  aheadMs: number
  /** Before each answer to a charge. */
  latencyMs: number
  /** The most requests that were under way at once, since it was asked last. */
  peak(): number
  close(): Promise<void>
}

/** Longer than any adapter under test waits. */
const HANG_MS = 60_000
const SLOW_MS = 150

export interface Ledger {
  charges: Map<string, FakeCharge>
  /** In the order in which they were made. */
  list: FakeCharge[]
  add(charge: Omit<FakeCharge, 'refunds'>): FakeCharge
  byId(id: string): FakeCharge | undefined
  nextId(): string
}

export const createFakeLedger = (prefix: string): Ledger => {
  const charges = new Map<string, FakeCharge>()
  const list: FakeCharge[] = []
  const ids = new Map<string, FakeCharge>()
  let made = 0
  return {
    charges,
    list,
    nextId: () => {
      made += 1
      return `${prefix}${String(made).padStart(8, '0')}`
    },
    add: (charge) => {
      const stored = { ...charge, refunds: [] }
      // Two charges under one reference would be the fault that all this is about: both are kept.
      const key = charges.has(charge.reference) ? `${charge.reference}#${charge.id}` : charge.reference
      charges.set(key, stored)
      list.push(stored)
      ids.set(charge.id, stored)
      return stored
    },
    byId: (id) => ids.get(id),
  }
}

/** What a token asks for. */
export const statusOf = (token: string, separate: boolean): { status: ChargeStatus; code?: string } => {
  const code = /decline:([^/]+)/.exec(token)?.[1]
  if (code !== undefined) return { status: 'declined', code }
  if (token.includes('sca')) return { status: 'requires_action' }
  if (token.includes('pending')) return { status: 'pending' }
  if (token.includes('strange')) return { status: 'strange' }
  return { status: separate ? 'authorized' : 'captured' }
}

export const startFakePsp = async (api: ProviderApi, ledger: Ledger): Promise<FakePsp> => {
  const answers = new Map<string, FakeAnswer>()
  const running = new Map<string, Promise<FakeAnswer>>()
  const queue: Fault[] = []
  const sockets = new Set<Socket>()
  const sending = new Set<Promise<unknown>>()
  let lastOrder = ''
  let nextAnswer: { answer: FakeAnswer; when: 'before' | 'after' } | undefined
  let underWay = 0
  let peak = 0
  let seq = 0

  const send: FakePsp['send'] = async ({ headers, body, query }) => {
    if (!fake.webhooks.url) return 0
    const url = `${fake.webhooks.url}${query ? `?${query}` : ''}`
    for (let tries = 0; tries < 20; tries += 1) {
      try {
        const answer = await fetch(url, { method: 'POST', body, headers: { 'content-type': 'application/json', ...headers } })
        await answer.text()
        if (answer.ok || (answer.status < 500 && answer.status !== 404)) return answer.status
      } catch {
        // As every provider does: again later.
      }
      await sleep(100)
    }
    return 0
  }
  const track = (work: Promise<unknown>): void => {
    sending.add(work)
    void work.finally(() => sending.delete(work))
  }
  /** @returns when what has to be told before an answer has been told. */
  const tell = async (charge: FakeCharge): Promise<void> => {
    const { mode, url } = fake.webhooks
    if (!url || mode === 'never') return
    seq += 1
    const event = api.event(charge, seq)
    if (!event) return
    if (mode === 'before the answer') await send(event)
    else track(send(event).then(() => (mode === 'twice' ? send(event) : undefined)))
  }

  /** Handles a request once a key, even when the same one comes twice at once. */
  const once = (request: FakeRequest): Promise<FakeAnswer> => {
    const key = api.keyOf(request)
    if (key === undefined) return Promise.resolve(api.handle(request))
    const known = answers.get(key)
    if (known) return Promise.resolve(known)
    const under = running.get(key)
    if (under) return under
    const work = (async () => {
      const before = ledger.list.length
      const answer = await api.handle(request)
      if (answer.status < 500 && answer.status !== 429) answers.set(key, answer)
      for (const charge of ledger.list.slice(before)) if (charge.status !== 'requires_action') await tell(charge)
      return answer
    })()
    running.set(key, work)
    return work.finally(() => running.delete(key))
  }

  const write = (response: ServerResponse, answer: FakeAnswer): void => {
    const text = typeof answer.body === 'string' ? answer.body : answer.body === undefined ? '' : JSON.stringify(answer.body)
    response.writeHead(answer.status, { 'content-type': 'application/json', ...answer.headers })
    response.end(text)
  }

  const serve = async (incoming: IncomingMessage, response: ServerResponse): Promise<void> => {
    underWay += 1
    peak = Math.max(peak, underWay)
    const chunks: Buffer[] = []
    for await (const chunk of incoming) chunks.push(chunk as Buffer)
    const url = new URL(incoming.url ?? '/', 'http://fake')
    const request: FakeRequest = {
      method: incoming.method ?? 'GET',
      path: url.pathname,
      query: url.searchParams,
      headers: incoming.headers as Record<string, string | undefined>,
      body: Buffer.concat(chunks).toString(),
    }
    if (nextAnswer && api.isOperation(request)) {
      const { answer, when } = nextAnswer
      nextAnswer = undefined
      if (when === 'after') await once(request)
      return write(response, answer)
    }
    const isCharge = api.isCharge(request)
    if (isCharge) lastOrder = request.body
    const fault = isCharge ? queue.shift() : undefined
    if (isCharge && fake.latencyMs > 0) await sleep(fake.latencyMs)
    const fail = (): void => {
      const key = api.keyOf(request)
      if (api.repeatsFailures && key !== undefined) answers.set(key, api.failed)
      write(response, api.failed)
    }
    switch (fault) {
      case undefined:
        return write(response, await once(request))
      case 'timeout before':
        await sleep(HANG_MS, undefined, { ref: false })
        return
      case 'timeout after':
        await once(request)
        await sleep(HANG_MS, undefined, { ref: false })
        return
      case '429':
        return write(response, api.rateLimited)
      case '500 before':
        return fail()
      case '500 after':
        await once(request)
        return fail()
      case 'malformed answer':
        await once(request)
        return write(response, { status: 200, body: '<html>502 Bad Gateway</html>', headers: { 'content-type': 'text/html' } })
      case 'slow answer': {
        const answer = await once(request)
        await sleep(SLOW_MS)
        return write(response, answer)
      }
      case 'reset after':
        await once(request)
        incoming.socket.destroy()
        return
      default:
        return fault satisfies never
    }
  }

  const server = createServer((incoming, response) => {
    response.once('close', () => {
      underWay -= 1
    })
    serve(incoming, response).catch((error) => {
      if (!response.headersSent) write(response, { status: 500, body: { fault: String(error) } })
      // biome-ignore lint/suspicious/noConsole: a stand-in that is wrong has to be seen.
      console.error(`the stand-in of ${api.name}:`, error)
    })
  })
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  const listen = (port: number) => new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  const port = await freePort()
  await listen(port)
  const stop = async (): Promise<void> => {
    const closed = new Promise((resolve) => server.close(resolve))
    for (const socket of sockets) socket.destroy()
    await closed
  }

  const fake: FakePsp = {
    url: `http://127.0.0.1:${port}`,
    latencyMs: 0,
    aheadMs: 0,
    charges: () => [...ledger.charges.values()],
    charge: (reference) => ledger.charges.get(reference),
    lastOrder: () => lastOrder,
    failNext: (fault, times = 1) => queue.push(...Array.from({ length: times }, () => fault)),
    answerNext: (answer, when) => {
      const known = { refusal: api.refusal, 'rate limited': api.rateLimited, failed: api.failed }
      nextAnswer = { answer: typeof answer === 'string' ? known[answer] : answer, when }
    },
    webhooks: { url: undefined, mode: 'once' },
    conclude: async (reference, status) => {
      const charge = ledger.charges.get(reference)
      if (!charge) throw new Error(`${api.name} knows no charge ${reference}`)
      charge.status = status
      await tell(charge)
    },
    send,
    down: stop,
    up: () => listen(port),
    forgetKeys: () => answers.clear(),
    quiet: async () => {
      while (sending.size > 0) await Promise.allSettled([...sending])
    },
    peak: () => {
      const most = peak
      peak = underWay
      return most
    },
    close: async () => {
      fake.webhooks.url = undefined
      if (server.listening) await stop()
    },
  }
  return fake
}

/** Of a form as Stripe takes it: `metadata[tollgate_reference]=…`. */
export const formOf = (body: string): Record<string, string> => Object.fromEntries(new URLSearchParams(body))

export const refundable = (charge: FakeCharge): number =>
  charge.status === 'captured' ? charge.amount - charge.refunds.filter(({ status }) => status !== 'failed').reduce((sum, { amount }) => sum + amount, 0) : 0
