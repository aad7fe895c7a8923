/** What is told of answers: every one is counted, denials are logged as often as asked for, decisions are written down. */
import type { Decision, Reason } from '../../common/entitlements/decide.ts'
import type { Log } from '../../common/log.ts'
import type { DecisionLog } from './decision-log.ts'
import type { Metrics } from './metrics.ts'
import { sampler } from './sampler.ts'
import type { Told } from './told.ts'

export interface Observer {
  count(method: string, reason: Reason): void
  /** Whether this answer has to be told in full. Asked once for each. */
  wants(decision: Decision): boolean
  tell(told: Told): void
}

export const createObserver = (options: {
  log: Log
  metrics: Pick<Metrics, 'count'>
  denialsShare: number
  decisions: Pick<DecisionLog, 'isDue' | 'write'> | undefined
}): Observer => {
  const { log, metrics, decisions } = options
  const denial = sampler(options.denialsShare)
  let [isDenial, isLogged] = [false, false]
  return {
    count: (method, reason) => metrics.count(method, reason),
    wants: (decision) => {
      isDenial = !decision.allowed && denial()
      isLogged = decisions?.isDue() ?? false
      return isDenial || isLogged
    },
    tell: (told) => {
      if (isLogged) decisions?.write(told)
      if (!isDenial) return
      const { check, decision, freshness, traceparent } = told
      log.info(
        { ...check.customer, entitlement: check.entitlement, reason: decision.reason, revision: freshness.revision, ...(traceparent ? { traceparent } : {}) },
        'denied',
      )
    },
  }
}
