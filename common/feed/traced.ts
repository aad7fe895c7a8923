/** A feed whose publications and readings are spans, within a trace. The trace travels with what is published. */
import { currentTracer, type SpanStart, tracedPart } from '../tracing.ts'
import type { Feed } from './feed.ts'

interface About {
  tenantId: string
  storefrontId?: string
  revision?: number
}

/** The same feed, if nothing is traced. */
export const tracedFeed = (feed: Feed, system: 'nats' | 'in_process'): Feed => {
  if (!currentTracer()) return feed
  const start = (name: string, kind: SpanStart['kind'], { tenantId, storefrontId, revision }: About): SpanStart => ({
    name,
    ...(kind ? { kind } : {}),
    attributes: { 'messaging.system': system, 'tollgate.tenant': tenantId, 'tollgate.storefront': storefrontId, 'tollgate.revision': revision },
  })
  return {
    ...feed,
    putSet: (set) => tracedPart(start('publish entitlement set', 'producer', set), () => feed.putSet(set)),
    putMissing: (customer, revision) =>
      tracedPart(start('publish missing entitlement set', 'producer', { ...customer, revision }), () => feed.putMissing(customer, revision)),
    putClock: (clock) => tracedPart(start('publish test clock', 'producer', clock), () => feed.putClock(clock)),
    getSet: (customer) => tracedPart(start('read entitlement set', 'client', customer), () => feed.getSet(customer)),
    ask: (tenantId, question, timeoutMs) => tracedPart(start('ask control plane', 'client', { tenantId }), () => feed.ask(tenantId, question, timeoutMs)),
  }
}
