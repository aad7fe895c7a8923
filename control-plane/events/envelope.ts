/** An event as the world sees it: CloudEvents 1.0, https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md. */
import type { LoggedEvent } from '../schemas/event.ts'

export interface EventEnvelope {
  specversion: '1.0'
  id: string
  /** The tenant, as a URI reference. */
  source: string
  type: string
  subject: string
  /** When it happened, in the tenant's time: ISO 8601. */
  time: string
  datacontenttype: 'application/json'
  /** Counts the events of the subject, in twenty digits: sorted as text, they stand in their order. */
  sequence: string
  data: unknown
}

/** https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/extensions/sequence.md. */
const SEQUENCE_DIGITS = 20

export const toEnvelope = ({
  tenantId,
  id,
  type,
  subject,
  time,
  seq,
  data,
}: Pick<LoggedEvent, 'tenantId' | 'id' | 'type' | 'subject' | 'time' | 'seq' | 'data'>): EventEnvelope => ({
  specversion: '1.0',
  id,
  source: `/tenants/${encodeURIComponent(tenantId)}`,
  type,
  subject,
  time: time.toISOString(),
  datacontenttype: 'application/json',
  sequence: String(seq).padStart(SEQUENCE_DIGITS, '0'),
  data: data ?? null,
})
