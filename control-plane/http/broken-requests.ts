/** Requests that Node cannot read, or does not want to: answered as any other mistake is, and not with an empty answer. */
import { randomUUID } from 'node:crypto'
import { type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { AppError } from '../../common/errors.ts'
import { toProblem } from './problem.ts'

const meaningOf = (code: string | undefined): AppError => {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return new AppError('headers_too_large', 'the address and the headers together are larger than 16 KiB')
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return new AppError('body_too_large', 'the chunk extensions of the body are too large')
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new AppError('request_timeout', 'the request was not complete in time')
    default:
      return new AppError('invalid_request', 'this is not an HTTP request')
  }
}

const textOf = (error: AppError): string => {
  const requestId = `req_${randomUUID()}`
  const problem = toProblem(error, requestId)
  const body = JSON.stringify(problem)
  const head = [
    `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}`,
    'content-type: application/problem+json',
    `content-length: ${Buffer.byteLength(body)}`,
    'cache-control: no-store',
    `x-request-id: ${requestId}`,
    'connection: close',
  ]
  return `${head.join('\r\n')}\r\n\r\n${body}`
}

export const answerBrokenRequests = (server: Server): void => {
  /** The last request of each connection that could be read, or begun to be. */
  const last = new WeakMap<object, { request: IncomingMessage; response: ServerResponse }>()
  server.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
    last.set(request.socket, { request, response })
  })
  /** Nothing may be written into, or before, the answer to another request. */
  const isFree = (socket: Socket): boolean => {
    const seen = last.get(socket)
    if (!seen || seen.response.writableFinished) return true
    return !seen.request.complete && !seen.response.headersSent
  }
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    if (!socket.writable || error.code === 'ECONNRESET' || !isFree(socket)) socket.destroy()
    // Closed for good once it is sent: what follows cannot be read either.
    else socket.end(textOf(meaningOf(error.code)), () => socket.destroy())
  })
}
