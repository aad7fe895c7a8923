/** An HTTP server with bounds on what a connection may take without asking for anything; Node's own are for quiet networks. */

import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http'
import { HOUR_MS } from './durations.ts'

/** A connection that says nothing, and headers that do not end. */
const SPEAKS_WITHIN_MS = 10_000
/** A whole body. */
const SENT_WITHIN_MS = 30_000
/** One that is read as it comes, and worked on meanwhile. */
const STREAMED_WITHIN_MS = HOUR_MS
const MAX_CONNECTIONS = 10_000

/** How long the rest of an unread body may take to arrive once the answer is sent. */
const UNREAD_WITHIN_MS = 5_000

const isStreamed = ({ headers }: IncomingMessage): boolean => headers['content-type']?.startsWith('text/csv') ?? false

export const createBoundedServer = (listener: RequestListener): Server => {
  const server = createServer(
    { headersTimeout: SPEAKS_WITHIN_MS, requestTimeout: STREAMED_WITHIN_MS, connectionsCheckingInterval: 1_000, keepAliveTimeout: 5_000 },
    listener,
  )
  server.maxConnections = MAX_CONNECTIONS
  server.on('connection', (socket) => {
    // Node times headers from their first byte on.
    const silent = setTimeout(() => socket.bytesRead === 0 && socket.destroy(), SPEAKS_WITHIN_MS)
    socket.once('close', () => clearTimeout(silent))
  })
  server.on('request', (request, response) => {
    const endUnlessWhole = () => !request.complete && request.socket.destroy()
    response.once('finish', () => setTimeout(endUnlessWhole, UNREAD_WITHIN_MS).unref())
    if (isStreamed(request)) return
    const slow = setTimeout(endUnlessWhole, SENT_WITHIN_MS)
    response.once('close', () => clearTimeout(slow))
  })
  return server
}
