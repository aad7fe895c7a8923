/** The stream of all events at NATS: `tollgate.events.<tenant>.<type>`, for those who have JetStream. */

import { jetstream, jetstreamManager, type StreamConfig } from '@nats-io/jetstream'
import { headers, type NatsConnection } from '@nats-io/transport-node'
import { DAY_MS } from '../../common/durations.ts'
import { connectAloud, connectionOptions, orFeedUnavailable, tellOfLosses } from '../../common/feed/nats/connection.ts'
import type { NatsAccess } from '../../common/feed/nats/credentials.ts'
import { EVENT_STREAM, EVENT_SUBJECTS, eventSubject } from '../../common/feed/nats/names.ts'
import type { Log } from '../../common/log.ts'
import type { Secret } from '../../common/secret.ts'
import type { StreamEvent } from './stream-runner.ts'

const NANOS_PER_MS = 1_000_000
/** What comes twice within this time is stored once. */
const DUPLICATES_MS = 2 * 60_000

export interface EventStream {
  /** Resolves when the stream has the event. @throws AppError `unavailable`. */
  publish(event: StreamEvent): Promise<void>
  close(): Promise<void>
}

export interface NatsStreamOptions {
  url: Secret
  access: NatsAccess
  replicas: number
  /** How long events are kept. */
  days: number
  log: Log
}

const RECONNECT_WAIT_MS = 250
/** More than our headers take. */
const HEADERS_BYTES = 1_024

const ensureStream = async (connection: NatsConnection, { replicas, days }: NatsStreamOptions): Promise<void> => {
  const manager = await jetstreamManager(connection, { checkAPI: false })
  const wanted: Partial<StreamConfig> & { name: string } = {
    name: EVENT_STREAM,
    subjects: [EVENT_SUBJECTS],
    num_replicas: replicas,
    max_age: days * DAY_MS * NANOS_PER_MS,
    duplicate_window: DUPLICATES_MS * NANOS_PER_MS,
  }
  try {
    await manager.streams.info(EVENT_STREAM)
    await manager.streams.update(EVENT_STREAM, wanted)
  } catch {
    await manager.streams.add(wanted)
  }
}

/** The stream is made with the first event, or made again when it is gone. */
export const openEventStream = async (options: NatsStreamOptions): Promise<EventStream> => {
  const { url, access, log } = options
  const connection = await connectAloud(connectionOptions(url, RECONNECT_WAIT_MS, access), log)
  void tellOfLosses(connection, log).catch(() => undefined)
  const client = jetstream(connection)
  let ready: Promise<void> | undefined
  let isTold = false
  return {
    publish: ({ tenantId, type, id, body, brief }) =>
      orFeedUnavailable(async () => {
        ready ??= ensureStream(connection, options)
        try {
          await ready
          const told = headers()
          told.set('content-type', 'application/cloudevents+json')
          const isTooLarge = Buffer.byteLength(body) + HEADERS_BYTES > (connection.info?.max_payload ?? Number.POSITIVE_INFINITY)
          await client.publish(eventSubject(tenantId, type), isTooLarge ? brief : body, { msgID: id, headers: told })
          isTold = false
        } catch (error) {
          // It may have been deleted since.
          ready = undefined
          if (!isTold) log.warn({ err: error, stream: EVENT_STREAM }, 'events cannot be put into the stream; trying again')
          isTold = true
          throw error
        }
      }),
    close: async () => {
      if (!connection.isClosed()) await connection.close()
    },
  }
}
