/**
 * What processes tell control planes without being answered. A queue group gives each message to one control plane, and who may ask
 * about some tenants only can speak at those subjects alone: so whoever hears such a message passes it on to all, with the
 * tenant of the subject that it came at.
 */
import { headers, type Msg, type NatsConnection } from '@nats-io/transport-node'
import type { Faults } from '../../faults.ts'
import { tenantAsked, toldToAll } from './names.ts'

/** The header for the subject that a message came at before it was passed on. */
const CAME_AT = 'came-at'

/** Passes a message on that was told at a tenant's subject. Those to all need no help. */
export const passOn = (connection: NatsConnection, bucket: string, { subject, data }: Msg): void => {
  const toAll = toldToAll(bucket)
  if (subject === toAll || tenantAsked(bucket, subject) === undefined) return
  const cameAt = headers()
  cameAt.set(CAME_AT, subject)
  connection.publish(toAll, data, { headers: cameAt })
}

/** @param onTold is told of which tenant whoever speaks may speak; undefined: of all. @returns what ends it. */
export const hearStatements = (
  connection: NatsConnection,
  bucket: string,
  onTold: (message: Uint8Array, tenantId: string | undefined) => void,
  faults: Faults,
): (() => void) => {
  const subscription = connection.subscribe(toldToAll(bucket))
  const listen = async () => {
    for await (const message of subscription) {
      // A question: one control plane answers it.
      if (message.reply) continue
      try {
        onTold(message.data, tenantAsked(bucket, message.headers?.get(CAME_AT) ?? ''))
      } catch (error) {
        faults.tell(error, 'feed: what a sidecar told could not be heard')
      }
    }
  }
  listen().catch((error: unknown) => faults.tell(error, 'feed: what sidecars tell is no longer received'))
  return () => subscription.unsubscribe()
}
