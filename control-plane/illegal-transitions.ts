/**
 * Transitions of machines that their tables do not have: a fault of ours. It is told to whoever listens (the log, and tests,
 * which fail), and not thrown: a customer who has paid is not to go without access for it.
 */
import { channel } from 'node:diagnostics_channel'

/** The states that each state may become, and by what. */
export type Transitions<S extends string> = Readonly<Record<S, Partial<Record<S, string>>>>

export const illegalTransitions = channel('tollgate:illegal-transition')

export const checkTransition = <S extends string>(table: Transitions<S>, id: string, from: S, to: S): void => {
  if (from !== to && !(to in table[from])) illegalTransitions.publish({ id, from, to })
}
