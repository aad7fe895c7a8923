/** The listeners that are told when sets change. What one listener cannot take, others still hear of. */
import type { CustomerKey, EntitlementSet } from '../../common/entitlements/model.ts'
import type { Faults } from '../../common/faults.ts'
import { customerOf, setKey } from '../../common/feed/keys.ts'
import type { KnownSet } from './known-set.ts'

/** @param known the customer's set, if the feed has just brought it: the cache may have no room for it. */
type Listener = (known?: KnownSet) => void

export interface Changes {
  /** Calls back whenever the customer's set changes. @returns what ends that. */
  onChange(customer: CustomerKey, listener: Listener): () => void
  /** Calls back with every set that the feed brings, and with each that is found to be behind. @returns what ends that. */
  onAnyChange(listener: (set: EntitlementSet) => void): () => void
}

/** The side that tells. Keys are those of `setKey`. */
export interface ChangePublisher {
  /** @param known the set, if the feed has just brought it. */
  changed(key: string, known?: KnownSet): void
  anyChanged(set: EntitlementSet): void
  /** Every set may have changed. */
  allChanged(): void
  /** Somebody listens to this customer. */
  isListenedTo(key: string): boolean
  /** Somebody listens to all of them. */
  isAllListenedTo(): boolean
}

/** Called when the first listener comes, and when the last goes. */
export interface ChangesOptions {
  faults: Faults
  onFirst?(customer: CustomerKey, key: string): void
  onLast?(customer: CustomerKey, key: string): void
  onFirstOfAll?(): void
  onLastOfAll?(): void
}

export const createChanges = ({ faults, onFirst, onLast, onFirstOfAll, onLastOfAll }: ChangesOptions): Changes & ChangePublisher => {
  const listeners = new Map<string, Set<Listener>>()
  const listenersToAll = new Set<(set: EntitlementSet) => void>()

  const call = (act: () => void, key: string) => {
    try {
      act()
    } catch (error) {
      faults.tell(error, 'a watcher could not be told about a change', { ...customerOf(key) })
    }
  }
  const changed = (key: string, known?: KnownSet) => {
    for (const listener of [...(listeners.get(key) ?? [])]) call(() => listener(known), key)
  }

  return {
    onChange: (customer, listener) => {
      const key = setKey(customer)
      const ofKey = listeners.get(key) ?? new Set()
      if (ofKey.size === 0) onFirst?.(customer, key)
      listeners.set(key, ofKey.add(listener))
      return () => {
        ofKey.delete(listener)
        if (ofKey.size > 0 || listeners.get(key) !== ofKey) return
        listeners.delete(key)
        onLast?.(customer, key)
      }
    },
    onAnyChange: (listener) => {
      if (listenersToAll.size === 0) onFirstOfAll?.()
      listenersToAll.add(listener)
      return () => {
        if (listenersToAll.delete(listener) && listenersToAll.size === 0) onLastOfAll?.()
      }
    },
    changed,
    anyChanged: (set) => {
      for (const listener of listenersToAll) call(() => listener(set), setKey(set))
    },
    allChanged: () => {
      for (const key of [...listeners.keys()]) changed(key)
    },
    isListenedTo: (key) => listeners.has(key),
    isAllListenedTo: () => listenersToAll.size > 0,
  }
}
