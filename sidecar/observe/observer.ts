/** The records of decisions: every one is counted, denials are logged as often as asked for, decisions are written down. */
import type { Decision, Reason } from '../../common/entitlements/decide.ts'
import type { Log } from '../../common/log.ts'
import type { DecisionEvent } from '../check.ts'
import type { DecisionLog } from './decision-log.ts'
import type { SidecarMetrics } from './metrics.ts'
import { sampler } from './sampler.ts'

/** The places where a decision is written: among the denials, in the decision log, or in both. */
export type Notice = 'denial' | 'decision' | 'both'

export interface Observer {
  count(method: string, reason: Reason): void
  /** The notice that is due for this decision, for `write`. Asked once for each, since shares are counted; undefined for nearly all. */
  noticeOf(decision: Decision): Notice | undefined
  write(notice: Notice, event: DecisionEvent): void
}

export const createObserver = (options: {
  log: Log
  metrics: Pick<SidecarMetrics, 'count'>
  denialsShare: number
  decisions: Pick<DecisionLog, 'isDue' | 'write'> | undefined
}): Observer => {
  const { log, metrics, decisions } = options
  const isDenialDue = sampler(options.denialsShare)
  return {
    count: (method, reason) => metrics.count(method, reason),
    noticeOf: (decision) => {
      const isDenial = !decision.allowed && isDenialDue()
      const isLogged = decisions?.isDue() ?? false
      if (isDenial) return isLogged ? 'both' : 'denial'
      return isLogged ? 'decision' : undefined
    },
    write: (notice, event) => {
      if (notice !== 'denial') decisions?.write(event)
      if (notice === 'decision') return
      const { check, decision, freshness, traceparent } = event
      log.info(
        { ...check.customer, entitlement: check.entitlement, reason: decision.reason, revision: freshness.revision, ...(traceparent ? { traceparent } : {}) },
        'denied',
      )
    },
  }
}
