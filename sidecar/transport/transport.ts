/**
 * What carries gRPC: two of them behind one interface, and a client cannot tell them apart. `grpc-js` is the reference;
 * `fast` is our own server side of HTTP/2, for the cost of a call.
 */
import type { Server } from '@grpc/grpc-js'

export interface Transport {
  /** As a server of grpc-js: what is made for one is added here. */
  addService: Server['addService']
  /** @returns the port that was given out. @throws Error with a `code` of the operating system. */
  listen(host: string, port: number): Promise<number>
  /** New calls are refused; resolves when those that run are done, or are cut after `drainMs`. */
  close(drainMs: number): Promise<void>
}
