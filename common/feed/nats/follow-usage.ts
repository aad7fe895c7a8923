/**
 * What customers have used, as control planes say it: plain messages of NATS, which reach who listens just then. A reader listens to
 * each customer that it follows, so that the server sends it nothing else; of a tenant of whom it follows very many, to all.
 */
import type { Msg, NatsConnection, Subscription } from '@nats-io/transport-node'
import type { CustomerUsage } from '../../entitlements/model.ts'
import { decodeUsage } from '../../entitlements/wire.ts'
import type { Faults } from '../../faults.ts'
import type { Log } from '../../log.ts'
import type { UsageFollowing } from '../feed.ts'
import type { Signing } from '../signing.ts'
import { usageSubject, usageSubjectsOfTenant } from './names.ts'

/** A subscription takes about two kilobytes here, and less at the server. */
const MOST_CUSTOMERS = 10_000

export interface UsageSource {
  connection: NatsConnection
  bucket: string
  signing: Signing
  faults: Faults
  log: Log
}

export const followUsage = ({ connection, bucket, signing, faults, log }: UsageSource, onUsage: (usage: CustomerUsage) => boolean): UsageFollowing => {
  const customers = new Map<string, { subscription: Subscription; tenantId: string }>()
  const tenants = new Map<string, Subscription>()
  let isTold = false

  const drop = (subject: string): void => {
    customers.get(subject)?.subscription.unsubscribe()
    customers.delete(subject)
  }
  const hear = ({ subject, data }: Msg): void => {
    try {
      const usage = decodeUsage(signing.open(subject, data))
      if (usageSubject(bucket, usage) !== subject) throw new TypeError("feed: usage was told under another customer's subject")
      if (!onUsage(usage)) drop(subject)
    } catch (error) {
      faults.tell(error, 'feed: usage could not be applied', { subject })
    }
  }
  const listen = (subject: string): Subscription =>
    connection.subscribe(subject, {
      callback: (error, message) => {
        if (!error) return hear(message)
        if (!isTold) log.error({ err: error }, 'feed: usage cannot be followed, so that checks show it late; run npm run nats:config again (docs/upgrading.md)')
        isTold = true
      },
    })

  return {
    follow: (customer) => {
      const { tenantId } = customer
      const subject = usageSubject(bucket, customer)
      if (connection.isClosed() || tenants.has(tenantId) || customers.has(subject)) return
      if (customers.size < MOST_CUSTOMERS) {
        customers.set(subject, { subscription: listen(subject), tenantId })
        return
      }
      tenants.set(tenantId, listen(usageSubjectsOfTenant(bucket, tenantId)))
      for (const [of, one] of customers) if (one.tenantId === tenantId) drop(of)
    },
    stop: () => {
      for (const subject of [...customers.keys()]) drop(subject)
      for (const subscription of tenants.values()) subscription.unsubscribe()
      tenants.clear()
    },
  }
}
