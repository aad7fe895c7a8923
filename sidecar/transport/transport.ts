/**
 * The carriers of gRPC: two of them behind one interface, and a client cannot tell them apart. `grpc-js` is the reference;
 * `fast` is our own server side of HTTP/2, for the cost of a call.
 */
import type { Server } from '@grpc/grpc-js'
import type { Certificates } from './certificate-files.ts'

/** A socket of TCP, or of the file system: on the latter there is never TLS, for the folder's permissions guard it. */
export type ListenAddress = { host: string; port: number } | { path: string }

/** The input of a call. Good until `answer` returns. */
export interface DirectCall {
  authorization: string | undefined
  /** The first header of this name. */
  header(name: string): string | undefined
}

/** A unary method that may be answered in place: from the bytes of its request to those of its answer. */
export interface DirectMethod {
  /** The largest size of the answer to a request of so many bytes. */
  maxBytes(requestBytes: number): number
  /** @returns where the answer ends that it has written at `to`; -1 leaves the call to the method's handler. */
  answer(bytes: Buffer, start: number, end: number, call: DirectCall, into: Buffer, to: number): number
}

export interface TransportOptions {
  /** In milliseconds since the epoch. */
  nowMs: () => number
  /** TLS on TCP; with a client CA in it, clients have to show a certificate of it. */
  certificates?: Certificates | undefined
  /** Several processes or threads may listen on one port (SO_REUSEPORT). */
  sharePort?: boolean
  /**
   * Told how long answers took, from the last byte of the request: `count` of them, `seconds` each. Of a stream its first
   * message counts, or its end when there is none; of a stream of requests, from the last that had come. `method` is a
   * whole path, always one that was added.
   */
  onAnswered?: (method: string, count: number, seconds: number) => void
  /** Refuses a call by what its headers say, before more of its message is kept than the first piece; undefined: it is not refused. */
  refused?: (path: string, authorization: string | undefined) => { code: number; details: string } | undefined
  /** Told of what was not foreseen: a call, or a connection, ended by it. */
  onFault: (error: unknown, what: string) => void
}

export interface Transport {
  /** Adds a service, like a server of grpc-js: what is made for one is added here. */
  addService: Server['addService']
  /** A short way for a method that a service has already. A transport may take it or not. */
  addDirect(path: string, method: DirectMethod): void
  /** May be called for several places. @returns the port that was given out; 0 for a path. @throws Error with a `code` of the operating system. */
  listen(where: ListenAddress): Promise<number>
  connectionCount(): number
  /** New calls are refused; resolves when those that run are done, or are cut after `drainMs`. */
  close(drainMs: number): Promise<void>
}
