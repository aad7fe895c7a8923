/** A control plane without its listeners: a provider in memory that answers at once, or after as long as is wanted. */
import { setTimeout as sleep } from 'node:timers/promises'
import { systemClock } from '../../common/clock.ts'
import { createInProcessFeed } from '../../common/feed/in-process.ts'
import { createLog } from '../../common/log.ts'
import { openEvents } from '../../control-plane/events/events.ts'
import { eventRenderers } from '../../control-plane/http/event-data.ts'
import { createSidecarRegistry } from '../../control-plane/observe/sidecars.ts'
import type { Psp } from '../../control-plane/payments/psp/psp.ts'
import type { Services } from '../../control-plane/ports.ts'
import { createSealing } from '../../control-plane/storage/sealing.ts'
import type { Storage } from '../../control-plane/storage/storage.ts'
import { createBank } from '../../test/simulation/bank.ts'

export const createBenchServices = (storage: Storage, latencyMs: number): Services => {
  const log = createLog('error')
  const { storage: recording, events } = openEvents({ storage, clock: systemClock, log, render: eventRenderers })
  const bank = createBank(() => Date.now())
  const slow = (psp: Psp): Psp => (latencyMs === 0 ? psp : { ...psp, charge: (request) => sleep(latencyMs).then(() => psp.charge(request)) })
  return {
    storage: recording,
    feed: createInProcessFeed({ clock: systemClock }),
    psps: { open: (_, account) => ({ psp: slow(bank.open(account)), capture: 'automatic', webhookProblem: undefined, timeoutMs: 10_000, circuit: undefined }) },
    sealing: createSealing(undefined),
    sidecars: createSidecarRegistry(systemClock),
    webhooksInHand: { count: 0 },
    clock: systemClock,
    log,
    events,
  }
}
