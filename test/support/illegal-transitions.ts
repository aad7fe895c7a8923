/**
 * A transition that is in no table is a fault wherever it happens: it fails the test. ava.config.js has this loaded with each,
 * so it imports nothing of what is tested.
 */
import { channel } from 'node:diagnostics_channel'

export const failOnIllegal = (transition: unknown): never => {
  throw new Error(`an illegal transition: ${JSON.stringify(transition)}`)
}

channel('tollgate:illegal-transition').subscribe(failOnIllegal)
