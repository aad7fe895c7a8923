/**
 * The real control plane in one process, over SQLite in memory and the in-process feed, with a bank that does as it is
 * told. It can be killed between any two of its writes and calls, and be run beside itself.
 */

import type { Feed } from '../../common/feed/feed.ts'
import { createInProcessFeed } from '../../common/feed/in-process.ts'
import { createLog } from '../../common/log.ts'
import { createBundle } from '../../control-plane/catalog/bundles.ts'
import { createTenant } from '../../control-plane/catalog/tenants.ts'
import { processWebhook } from '../../control-plane/engine/process-webhook.ts'
import { openEvents } from '../../control-plane/events/events.ts'
import { noted } from '../../control-plane/events/noters/index.ts'
import { type Recorded, recordingStorage } from '../../control-plane/events/record.ts'
import { eventRenderers } from '../../control-plane/http/event-data.ts'
import { keys } from '../../control-plane/keys.ts'
import { createSidecarRegistry } from '../../control-plane/observe/sidecars.ts'
import { receiveWebhook } from '../../control-plane/payments/webhooks/receive-webhook.ts'
import type { Services } from '../../control-plane/ports.ts'
import type { Tenant } from '../../control-plane/schemas/tenant.ts'
import { collectionNames } from '../../control-plane/storage/documents.ts'
import { createSealing } from '../../control-plane/storage/sealing.ts'
import { createSqliteStorage } from '../../control-plane/storage/sqlite.ts'
import type { Storage } from '../../control-plane/storage/storage.ts'
import { tenantScope } from '../../control-plane/tenant-scope.ts'
import { doWorkOfAny, repairable } from '../../control-plane/work/do-work.ts'
import { type Bank, createBank } from './bank.ts'

export class Killed extends Error {}

/** Dies at a step of its choosing; every step after that fails too, as those of a dead process never come. */
interface Fate {
  step(): Promise<void>
}

const immortal: Fate = { step: async () => {} }

const wrap = <T extends object>(target: T, fate: () => Fate): T =>
  new Proxy(target, {
    get: (object, name) => {
      const value = Reflect.get(object, name) as unknown
      // What asks nobody is no step.
      if (typeof value !== 'function' || name === 'mayReorder') return value
      return async (...args: unknown[]) => {
        // Killed before it was done, or after.
        await fate().step()
        const result = await (value as (...all: unknown[]) => Promise<unknown>).apply(object, args)
        await fate().step()
        return result
      }
    },
  })

export interface Laboratory {
  /** As a process that may die has them. */
  services: Services
  /** As an observer has them. */
  storage: Storage
  feed: Feed
  bank: Bank
  /** From now on each storage, feed and bank call is a step; the process dies at the given one. Undefined: never. */
  dieAt(step: number | undefined): void
  /** Hands on all events that documents hold. */
  handOnAll(): Promise<void>
  /** Starts again after a death, and finishes what was begun. */
  recover(): Promise<void>
  /** Moves the system's clock, which live tenants go by. */
  pass(ms: number): void
  /** @param now of its test clock; a live tenant has none. */
  newTenant(id: string, now: Date | undefined, storefront: Parameters<typeof createTenant>[1]['storefronts'][number]): Promise<Tenant>
  tenant(id: string): Promise<Tenant>
  close(): Promise<void>
}

/** One account, and the defaults: for tests to which it does not matter. */
export const storefront = {
  id: 'shop',
  name: 'shop',
  currency: 'USD',
  timeZone: 'UTC',
  routing: { split: [{ account: 'a', weight: 1 }], fallback: [], rules: [] },
  billing: { graceHours: 72, retryHours: [24, 72, 168], firstPaymentHours: 23, proration: 'day' as const, maxAttempts: 15, maxAttemptsDays: 30 },
}

const MAX_SWEEPS = 20

export const openLaboratory = (): Laboratory => {
  let systemMs = Date.UTC(2030, 0, 1)
  const clock = { now: () => new Date(systemMs), nowMs: () => systemMs }
  const log = createLog('silent')
  const storage = createSqliteStorage({ path: ':memory:', clock })
  // It keeps what was published, and outlives the process as NATS does.
  const feed = createInProcessFeed({ clock })
  let fate = immortal
  let tenantNowMs = 0
  const bank = createBank(() => tenantNowMs)
  const mortalStore = { ...storage, ...Object.fromEntries(collectionNames.map((name) => [name, wrap(storage[name], () => fate)])) } as Storage
  // What is handed on in the background is handed on when the laboratory recovers, so that the steps are the same in every run.
  const { events } = openEvents({ storage, clock, log, render: eventRenderers })
  const mortal = recordingStorage(mortalStore, { clock, log, render: eventRenderers, recorded: () => {}, handOn: events.handOn })
  const mortalFeed = wrap(feed, () => fate)
  const sandbox = {
    nextEvent: bank.sandbox.nextEvent,
    moveTo: async (tenantId: string, now: Date) => {
      tenantNowMs = Math.max(tenantNowMs, now.getTime())
      await bank.sandbox.moveTo(tenantId, now)
    },
  }
  const services: Services = {
    storage: mortal,
    feed: mortalFeed,
    psps: {
      open: (tenant, account) => {
        tenantNowMs = tenant.testNow?.getTime() ?? systemMs
        return { psp: wrap(bank.open(account), () => fate), capture: 'automatic', webhookProblem: undefined, timeoutMs: 1_000, circuit: undefined }
      },
      sandbox,
    },
    sealing: createSealing(undefined),
    sidecars: createSidecarRegistry(clock),
    webhooksInHand: { count: 0 },
    clock,
    log,
    events,
  }
  const tenant = (id: string) => storage.tenants.get(keys.tenant(id))
  let current = ''
  const unsynced = { ...services, storage, feed }
  bank.deliver = async (account, event) => {
    const owner = await tenant(current)
    const psps = {
      ...services.psps,
      open: () => ({ psp: { ...bank.open(account) }, capture: 'automatic' as const, webhookProblem: undefined, timeoutMs: 1_000, circuit: undefined }),
    }
    const { events: stored } = await receiveWebhook({ ...services, psps }, owner.tenantId, account, { headers: {}, query: {}, rawBody: JSON.stringify(event) })
    for (const one of stored) await processWebhook(tenantScope(services, owner), one)
  }

  const handOnAll = async () => {
    for (const collection of noted)
      for (let left: Recorded[]; ; ) {
        left = (await storage[collection].due({ by: 'outboxAt', until: new Date('9999-01-01'), limit: 500 })) as Recorded[]
        if (left.length === 0) break
        for (const document of left) await events.handOn(collection, document)
      }
  }

  return {
    services,
    storage,
    feed,
    bank,
    dieAt: (step) => {
      let steps = 0
      fate =
        step === undefined
          ? immortal
          : {
              step: async () => {
                steps += 1
                if (steps >= step) throw new Killed()
              },
            }
    },
    handOnAll,
    recover: async () => {
      fate = immortal
      for (let sweep = 0; sweep < MAX_SWEEPS; sweep += 1) {
        systemMs += 60_000
        let found = 0
        for (const collection of repairable) {
          for (const document of await storage[collection].due({ by: 'repairAt', until: clock.now(), limit: 500 })) {
            found += 1
            await doWorkOfAny(services, collection, document as never)
          }
        }
        if (found === 0) return handOnAll()
      }
      const left = await Promise.all(repairable.map((collection) => storage[collection].due({ by: 'repairAt', until: clock.now(), limit: 500 })))
      throw new Error(`what was begun does not come to its end: ${JSON.stringify(left.flat())}`)
    },
    pass: (ms) => {
      systemMs += ms
    },
    newTenant: async (id, now, storefront) => {
      current = id
      if (now) tenantNowMs = now.getTime()
      const made = await createTenant(unsynced, { id, name: id, mode: now ? 'sandbox' : 'live', storefronts: [storefront] }, `key_${id}`)
      return now ? storage.tenants.replace({ ...made.tenant, testNow: now }) : made.tenant
    },
    tenant,
    close: storage.close,
  }
}

/** A bundle that is charged each day, to be sold in `shop`. */
export const createDailyBundle = (laboratory: Laboratory, tenant: Tenant) =>
  createBundle(tenantScope(laboratory.services, tenant), 'shop', 'daily', {
    name: 'daily',
    pricing: { amountMinor: 100, currency: 'USD', interval: 'day', intervalCount: 1 },
    entitlements: [],
    trialDays: 0,
    refundEndsAccess: false,
  })
