/** A receiver of webhooks, which answers as a test wants. */
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Webhook } from 'standardwebhooks'

export interface ReceivedWebhook {
  id: string
  type: string
  subject: string
  sequence: string
  data: Record<string, unknown>
  headers: IncomingHttpHeaders
  atMs: number
}

export interface WebhookReceiver extends AsyncDisposable {
  url: string
  /** What it has received, and answered with a 2xx. */
  accepted: ReceivedWebhook[]
  /** All that came in. */
  seen: ReceivedWebhook[]
}

type Behave = (received: ReceivedWebhook, response: ServerResponse) => void | Promise<void>

/** @param behave answers; without, all is well. @param secret checks each signature. */
export const openWebhookReceiver = async (secret: string | undefined, behave: Behave = (_, response) => void response.end()): Promise<WebhookReceiver> => {
  const [accepted, seen]: ReceivedWebhook[][] = [[], []] as never
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const body = Buffer.concat(chunks).toString()
    if (secret) new Webhook(secret).verify(body, request.headers as Record<string, string>)
    const received = { ...JSON.parse(body), headers: request.headers, atMs: Date.now() } as ReceivedWebhook
    seen?.push(received)
    response.once('finish', () => {
      if (response.statusCode < 300) accepted?.push(received)
    })
    await behave(received, response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
    accepted: accepted as ReceivedWebhook[],
    seen: seen as ReceivedWebhook[],
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      server.close()
    },
  }
}
