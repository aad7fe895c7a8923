import { type Logger, pino } from 'pino'
import { currentTracer } from './tracing.ts'

export type Log = Logger

/**
 * JSON lines on standard error; standard output is kept for the `ready` line and for commands' answers.
 * Fields that could carry a secret are removed here by name, as a second line of defence: callers do not log them at all.
 */
export const createLog = (level: string): Log =>
  pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      // A new object each time: pino writes into it.
      mixin: () => {
        const traceId = currentTracer()?.traceId()
        return traceId === undefined ? {} : { traceId }
      },
      redact: {
        paths: ['authorization', '*.authorization', 'secret', '*.secret', 'token', '*.token', 'credentials', '*.credentials'],
        remove: true,
      },
    },
    pino.destination({ dest: 2, sync: true }),
  )
