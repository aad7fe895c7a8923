import type { EventEmitter } from 'node:events'

/** Resolves when a stream that takes no more takes more again, or is closed. */
export const untilDrained = (stream: EventEmitter): Promise<void> =>
  new Promise((resolve) => {
    const go = () => {
      stream.off('drain', go)
      stream.off('close', go)
      resolve()
    }
    stream.on('drain', go)
    stream.on('close', go)
  })
