/** Puts the events of a tenant into the stream, one after another in their order. */
import { isAppError } from '../../common/errors.ts'
import type { Log } from '../../common/log.ts'
import type { LoggedEvent } from '../schemas/event.ts'
import type { EventCursor } from '../schemas/webhook-delivery.ts'
import { toEnvelope } from './envelope.ts'

export interface StreamEvent {
  tenantId: string
  type: string
  /** The stream drops what comes again under one id within two minutes. */
  id: string
  body: string
  /** The same without its data, for a server that does not take as much. */
  brief: string
}

export interface StreamRunner {
  wake(): void
  cursor(): EventCursor
  isIdle(lastPlace: number): boolean
  stop(): Promise<void>
}

export interface StreamRunnerOptions {
  cursor: EventCursor | undefined
  read(after: number): Promise<{ events: readonly LoggedEvent[]; upTo: number }>
  publish(event: StreamEvent): Promise<void>
  mayGoOn(): boolean
  log: Log
}

const AGAIN_AFTER_MS = 1_000

export const startStreamRunner = ({ cursor, read, publish, mayGoOn, log }: StreamRunnerOptions): StreamRunner => {
  let position = cursor?.position ?? 0
  let [isStopped, isAgain] = [false, false]
  let work: Promise<void> | undefined
  let timer: NodeJS.Timeout | undefined

  const publishAll = async (): Promise<void> => {
    while (!isStopped) {
      const { events, upTo } = await read(position)
      for (const event of events) {
        if (isStopped || !mayGoOn()) return
        const envelope = toEnvelope(event)
        const brief = JSON.stringify({ ...envelope, data: { tooLarge: true } })
        await publish({ tenantId: event.tenantId, type: event.type, id: event.id, body: JSON.stringify(envelope), brief })
        position = event.position
      }
      if (upTo <= position && events.length === 0) return
      position = Math.max(position, upTo)
    }
  }
  const wake = (): void => {
    if (isStopped) return
    if (work) {
      isAgain = true
      return
    }
    work = publishAll()
      .catch((error: unknown) => {
        if (!isAppError(error, 'unavailable')) log.error({ err: error }, 'events could not be put into the stream, and will be tried again')
        clearTimeout(timer)
        timer = setTimeout(wake, AGAIN_AFTER_MS)
      })
      .finally(() => {
        work = undefined
        if (isAgain) {
          isAgain = false
          wake()
        }
      })
  }
  wake()
  return {
    wake,
    cursor: () => ({ position }),
    isIdle: (lastPlace) => work === undefined && position >= lastPlace,
    stop: async () => {
      isStopped = true
      clearTimeout(timer)
      await work
    },
  }
}
