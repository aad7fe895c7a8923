/** Which of a customer's sets something was answered from, and when that was last known to be current. */
export interface Version {
  customerKnown: boolean
  revision: number
  asOfMs: number
}

/**
 * Revisions only grow, unless a control plane goes back to a backup. So a lower one is older knowledge, of a sidecar that is behind
 * another, unless it is current at a time that is later by more than the clocks of two sidecars differ.
 */
const CLOCKS_DIFFER_MS = 5_000

/** A customer that is gone has no revision: later by any time is later. */
export const isOlder = ({ customerKnown, revision, asOfMs }: Version, than: Pick<Version, 'revision' | 'asOfMs'>): boolean =>
  revision < than.revision && asOfMs <= than.asOfMs + (customerKnown ? CLOCKS_DIFFER_MS : 0)
