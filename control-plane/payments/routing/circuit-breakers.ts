/**
 * A circuit breaker for each PSP account: after several technical failures in a row no payment waits for that account
 * any more; after a while one is let through to see. Kept in the memory of each process, since it is about what this
 * process can reach, and lost at no harm.
 */
import { BrokenCircuitError, CircuitState, ConsecutiveBreaker, circuitBreaker, handleWhenResult } from 'cockatiel'
import { LRUCache } from 'lru-cache'
import type { Clock } from '../../../common/clock.ts'
import type { Log } from '../../../common/log.ts'
import type { ChargeOutcome, Circuit } from '../psp/psp.ts'

/** More accounts than one process serves; an account that is forgotten starts closed. */
const MAX_ACCOUNTS = 10_000

export interface CircuitBreakerSettings {
  /** So many technical failures in a row open the circuit. */
  failures: number
  /** How long it stays open before one payment is let through. */
  openMs: number
}

/** The provider could not be reached, did not answer, or says that it failed itself. What it says of a card is none. */
const isTechnicalFailure = (outcome: unknown): boolean => {
  const { status, ...rest } = outcome as ChargeOutcome
  return status === 'not_sent' || status === 'unknown' || (status === 'declined' && 'declineClass' in rest && rest.declineClass === 'technical')
}

const createCircuit = (account: string, { failures, openMs }: CircuitBreakerSettings, clock: Clock, log: Log): Circuit => {
  const policy = circuitBreaker(handleWhenResult(isTechnicalFailure), { halfOpenAfter: openMs, breaker: new ConsecutiveBreaker(failures) })
  let openUntil: Date | undefined
  policy.onBreak(() => {
    openUntil = new Date(clock.nowMs() + openMs)
    log.error({ account, openUntil }, 'the circuit of a PSP account opened: its payments go elsewhere or wait')
  })
  policy.onReset(() => {
    openUntil = undefined
    log.info({ account }, 'the circuit of a PSP account closed')
  })
  return {
    view: () => {
      if (policy.state === CircuitState.Closed) return { state: 'closed', openUntil: undefined }
      const waits = policy.state === CircuitState.Open && openUntil !== undefined && openUntil.getTime() > clock.nowMs()
      return waits ? { state: 'open', openUntil } : { state: 'half_open', openUntil: undefined }
    },
    run: async (charge) => {
      try {
        return await policy.execute(charge)
      } catch (error) {
        if (error instanceof BrokenCircuitError) return { status: 'not_sent', pspCode: 'circuit_open' }
        throw error
      }
    },
  }
}

export interface CircuitBreakers {
  /** The circuit of an account, by its key in storage; the same one each time. */
  of(account: string): Circuit
  /** The state of each account that this process has paid at. */
  states(): IterableIterator<{ account: string; state: ReturnType<Circuit['view']>['state'] }>
}

export const createCircuitBreakers = (settings: CircuitBreakerSettings, clock: Clock, log: Log): CircuitBreakers => {
  const circuits = new LRUCache<string, Circuit>({ max: MAX_ACCOUNTS })
  return {
    of: (account) => {
      const known = circuits.get(account)
      if (known) return known
      const made = createCircuit(account, settings, clock, log)
      circuits.set(account, made)
      return made
    },
    *states() {
      for (const [account, circuit] of circuits.entries()) yield { account, state: circuit.view().state }
    },
  }
}
