/**
 * The sidecars of an installation, as they tell of themselves. Each control plane hears all of them, and keeps what it heard in
 * memory: ten seconds after its start it knows them all.
 *
 * A sidecar is known by its own id, and by the tenant at whose subject it speaks, which the feed's server has checked: so a sidecar of
 * one tenant can neither replace nor push out what another one has told.
 */
import { LRUCache } from 'lru-cache'
import type { Clock } from '../../common/clock.ts'
import { HOUR_MS } from '../../common/durations.ts'
import { decodeSidecarStatus, type SidecarStatus } from '../../common/sidecar-status.ts'
import type { Instruments } from './instruments.ts'

/** Six times without a word. */
const AWAY_AFTER_MS = 60_000
/** Long enough to be noticed and looked into. */
const FORGOTTEN_AFTER_MS = HOUR_MS
/** Of one tenant, and of those that serve all: each takes about a kilobyte. */
const [MAX_OF_A_TENANT, MAX_OF_ALL, MAX_TENANTS] = [100, 10_000, 1_000]

export interface KnownSidecar {
  /** Names it among all, and sorts by its id. */
  key: string
  /** The tenant at whose subject it speaks; undefined: it may ask about all tenants. */
  tenantId: string | undefined
  status: SidecarStatus
  heardAt: Date
  isAway: boolean
}

export interface SidecarRegistry {
  /** @param tenantId as the feed says it. */
  hear(message: Uint8Array, tenantId: string | undefined): void
  /** In the order of their keys. */
  list(): KnownSidecar[]
}

interface Heard {
  status: SidecarStatus
  heardMs: number
}

export const createSidecarRegistry = (clock: Clock): SidecarRegistry => {
  const ofAll = new LRUCache<string, Heard>({ max: MAX_OF_ALL })
  const ofTenants = new LRUCache<string, LRUCache<string, Heard>>({ max: MAX_TENANTS })
  const placeOf = (tenantId: string | undefined): LRUCache<string, Heard> => {
    if (tenantId === undefined) return ofAll
    const known = ofTenants.get(tenantId)
    if (known) return known
    const made = new LRUCache<string, Heard>({ max: MAX_OF_A_TENANT })
    ofTenants.set(tenantId, made)
    return made
  }
  return {
    hear: (message, tenantId) => {
      const status = decodeSidecarStatus(message)
      if (!status) return
      if (status.leaving) placeOf(tenantId).delete(status.id)
      else placeOf(tenantId).set(status.id, { status, heardMs: clock.nowMs() })
    },
    list: () => {
      const found: KnownSidecar[] = []
      for (const [tenantId, place] of [[undefined, ofAll] as const, ...ofTenants.entries()]) {
        for (const [id, { status, heardMs }] of [...place.entries()]) {
          const silentMs = clock.nowMs() - heardMs
          if (silentMs >= FORGOTTEN_AFTER_MS) place.delete(id)
          else found.push({ key: JSON.stringify([id, tenantId ?? null]), tenantId, status, heardAt: new Date(heardMs), isAway: silentMs >= AWAY_AFTER_MS })
        }
      }
      return found.toSorted((a, b) => (a.key < b.key ? -1 : 1))
    },
  }
}

export const measureSidecars = ({ readEach }: Instruments, sidecars: SidecarRegistry): void =>
  readEach('tollgate_sidecars', 'Sidecars that this control plane has heard of within an hour. away: not for 60 seconds.', ['status'], () => {
    const known = sidecars.list()
    const away = known.filter(({ isAway }) => isAway).length
    return [
      { labels: { status: 'live' }, value: known.length - away },
      { labels: { status: 'away' }, value: away },
    ]
  })
