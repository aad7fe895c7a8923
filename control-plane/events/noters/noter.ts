/**
 * A noter knows what in a document is worth an event. It compares the document with what was told of it before (`told`, in the
 * document itself), so it finds the same whichever way the document was changed, and finds nothing twice.
 */
import type { EventType } from '../event-types.ts'

/** Something that has happened, and was not told yet. */
export interface Fact {
  type: EventType
  /** In the tenant's time, where the document says when. */
  time: Date
  /** Narrows what is shown: for events about a part of the document. */
  part?: unknown
}

export interface Noted {
  told: unknown
  facts: Fact[]
}

export interface Noter<D> {
  subject(document: D): string
  about(document: D): { storefrontId?: string; customerId?: string }
  /**
   * @param told undefined: nothing of it was noted before.
   * @param since what is not later than this was told, or happened before events were kept. Undefined: the document is new.
   */
  note(document: D, told: unknown, since: Date | undefined): Noted
  /**
   * Leaves out what a fact takes back of the same second.
   * @param waiting types and times of events that are not handed on yet. @returns which of them stay, and the facts that do.
   */
  settle?(waiting: readonly { type: string; time: string }[], facts: readonly Fact[]): { stays: boolean[]; facts: Fact[] }
  /** What is shown of it while more is about to follow at once: nothing is handed on before it is at rest. */
  isAtRest?(document: D): boolean
}

/** A fact with a key by which it is known again. */
export interface KeyedFact extends Fact {
  key: string
}

/** Facts that a document holds as long as they matter: those with a key that was not told are news. */
export const noteKeyed = (all: readonly KeyedFact[], told: unknown, since: Date | undefined): Noted => {
  const known = Array.isArray(told) ? new Set(told as string[]) : undefined
  const isNews = ({ key, time }: KeyedFact): boolean => (known ? !known.has(key) : since === undefined || time > since)
  return { told: all.map(({ key }) => key), facts: all.filter(isNews).map(({ key: _, ...fact }) => fact) }
}

const escaped = (id: string): string => encodeURIComponent(id.toWellFormed())

/** A subject: the path of an object, below its tenant. */
export const subjectPath = (...parts: string[]): string => `/${parts.map(escaped).join('/')}`
