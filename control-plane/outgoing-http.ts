/**
 * Every call to somebody else: a bound on how long it takes and on how much is answered, no
 * redirects (a charge is made where it was sent, or not at all), and another base URL where the environment names one.
 */
import { type LookupAddress, lookup as systemLookup } from 'node:dns'
import { isIP, type LookupFunction } from 'node:net'
import ipaddr from 'ipaddr.js'
import { Agent, fetch } from 'undici'

/** Bytes of an answer's body, when it is unpacked; providers answer in kilobytes. */
const MAX_ANSWER_BYTES = 1024 * 1024

export interface OutgoingTransport {
  fetch(url: string | URL, init?: RequestInit): Promise<Response>
}

export interface OutgoingTransportOptions {
  timeoutMs: number
  baseUrl?: string | undefined
  /** Hosts on the internet alone: what a tenant names must not be of our own network. */
  onlyPublic?: boolean
  /** Answers all addresses of a name; the system's own without. */
  lookup?: typeof systemLookup
}

class AnswerTooLargeError extends Error {
  readonly code = 'ANSWER_TOO_LARGE'
  constructor() {
    super(`the answer is larger than ${MAX_ANSWER_BYTES} bytes`)
  }
}

/** Before anything was sent, so `syscall` is that of a name that cannot be looked up. */
class NotPublicError extends Error {
  readonly code = 'ENOTPUBLIC'
  readonly syscall = 'getaddrinfo'
  constructor(hostname: string) {
    super(`${hostname} does not resolve only to addresses on the internet`)
  }
}

/** All of IPv6 that is given out to the internet. The rest of it has other forms of IPv4 addresses, and what is to come. */
const GLOBAL_UNICAST = ipaddr.IPv6.parseCIDR('2000::/3')

const isPublic = (text: string): boolean => {
  const address = ipaddr.process(text)
  return address.range() === 'unicast' && (address.kind() === 'ipv4' || address.match(GLOBAL_UNICAST))
}

/**
 * True for https addresses by a name on the internet. A name is looked at again whenever it is connected to; a number is looked
 * at here alone.
 */
export const isPublicUrl = (url: URL): boolean => {
  const hostname = url.hostname.replace(/\.$/, '')
  return url.protocol === 'https:' && hostname.includes('.') && !/^[\d.]+$|^\[|\.(local|localhost|internal)$/.test(hostname)
}

/** An address that is no name: a name is looked up when it is connected to, and looked at then. */
export const isInternalAddress = ({ hostname }: URL): boolean => {
  const host = hostname.replace(/^\[|\]$/g, '')
  return isIP(host) !== 0 && !isPublic(host)
}

/** Looks at the addresses that are connected to, and not at the name: what a name stands for changes. */
const publicLookup =
  (lookup: typeof systemLookup): LookupFunction =>
  (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, found) => {
      const addresses = (found ?? []) as LookupAddress[]
      if (error) callback(error, [])
      else if (addresses.length === 0 || !addresses.every(({ address }) => isPublic(address))) callback(new NotPublicError(hostname), [])
      else if (options.all) callback(null, addresses)
      else callback(null, addresses[0]?.address ?? '', addresses[0]?.family)
    })
  }

const bounded = async (response: Response): Promise<Response> => {
  if (!response.body) return response
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    bytes += chunk.byteLength
    // To leave the loop lets go of the connection.
    if (bytes > MAX_ANSWER_BYTES) throw new AnswerTooLargeError()
    chunks.push(chunk)
  }
  return new Response(Buffer.concat(chunks), { status: response.status, statusText: response.statusText, headers: [...response.headers] })
}

/** Answers all addresses of a name, as `node:dns` does. */
export type Lookup = typeof systemLookup

interface OutgoingAgentOptions extends Omit<Agent.Options, 'connect'> {
  onlyPublic: boolean
  lookup?: Lookup | undefined
  /** Looking up the name counts. */
  connectTimeoutMs?: number
}

/** Connections to hosts that tenants name. With `onlyPublic`, ask `isInternalAddress` of a URL before: an address is not looked up. */
export const createOutgoingAgent = ({ onlyPublic, lookup = systemLookup, connectTimeoutMs, ...options }: OutgoingAgentOptions): Agent =>
  new Agent({
    ...options,
    connect: {
      lookup: onlyPublic ? publicLookup(lookup) : (lookup as LookupFunction),
      ...(connectTimeoutMs === undefined ? {} : { timeout: connectTimeoutMs }),
    },
  })

const [anywhere, onTheInternet] = [new Agent(), createOutgoingAgent({ onlyPublic: true })]

/**
 * Options for a library that brings its own call of `fetch` and lets options through to it: the same bound on the answer's
 * size, and on how long it says nothing. Node's own `fetch` takes it, being of undici's same major version.
 */
export const boundedOptions = (timeoutMs: number): { dispatcher: Agent; redirect: 'error' } => ({
  dispatcher: new Agent({ maxResponseSize: MAX_ANSWER_BYTES, headersTimeout: timeoutMs, bodyTimeout: timeoutMs }),
  redirect: 'error',
})

export const createOutgoingTransport = ({ timeoutMs, baseUrl, onlyPublic = false, lookup }: OutgoingTransportOptions): OutgoingTransport => {
  const inPublic = lookup ? createOutgoingAgent({ onlyPublic: true, lookup }) : onTheInternet
  const dispatcher = onlyPublic ? inPublic : anywhere
  return {
    fetch: async (url, init = {}) => {
      const target = new URL(url)
      const base = baseUrl === undefined ? undefined : new URL(baseUrl)
      const to = base ? new URL(`${base.pathname.replace(/\/$/, '')}${target.pathname}${target.search}`, base) : target
      if (onlyPublic && isInternalAddress(to)) throw new NotPublicError(to.hostname)
      const sent = { ...init, redirect: 'error', signal: AbortSignal.timeout(timeoutMs), dispatcher } as Parameters<typeof fetch>[1]
      return bounded((await fetch(to, sent)) as unknown as Response)
    },
  }
}
