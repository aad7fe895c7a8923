/**
 * Decisions as JSON lines, each with what it was made from: `npm run replay` makes it again and compares. A line that
 * cannot be written is lost and counted; no answer waits for it.
 */
import { pino } from 'pino'
import type { DecisionLine } from '../../common/entitlements/decision-line.ts'
import type { Log } from '../../common/log.ts'
import type { Check, DecisionEvent } from '../check.ts'
import type { DecisionBasis } from '../replica/decision-basis.ts'
import { sampler } from './sampler.ts'

export interface DecisionLog {
  /** True if the next decision is to be written: one of so many. */
  isDue(): boolean
  write(event: DecisionEvent): void
  close(): Promise<void>
}

export const createDecisionLog = (options: {
  /** `stdout`, or a file's path: it is added to. */
  to: string
  share: number
  log: Log
  /** The basis that a decision about this was made from. */
  basisOf: (check: Check) => DecisionBasis | null
}): DecisionLog => {
  const { to, share, log, basisOf } = options
  const destination = pino.destination({ dest: to === 'stdout' ? 1 : to, append: true, sync: false, minLength: 4096 })
  destination.on('error', (error) => log.error({ err: error }, 'the decision log cannot be written'))
  const timer = setInterval(() => destination.flush(() => undefined), 1_000)
  timer.unref()
  // Whoever rotates the file says so, as is the custom.
  const reopen = () => destination.reopen()
  if (to !== 'stdout') process.on('SIGHUP', reopen)
  return {
    isDue: sampler(share),
    write: ({ check, decision, freshness, nowMs, traceparent }) => {
      const line: DecisionLine = {
        at: nowMs,
        ...check.customer,
        entitlement: check.entitlement,
        amount: check.amount,
        held: basisOf(check),
        decision,
        revision: freshness.revision,
        asOf: freshness.asOfMs,
        stale: freshness.stale,
        ...(traceparent ? { traceparent } : {}),
      }
      destination.write(`${JSON.stringify(line)}\n`)
    },
    close: () =>
      new Promise((resolve) => {
        clearInterval(timer)
        process.off('SIGHUP', reopen)
        destination.once('close', () => resolve())
        destination.end()
      }),
  }
}
