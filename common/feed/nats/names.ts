/** Names of streams, subjects and consumers at NATS; permissions of users are built from them (`permissions.ts`). */
import type { CustomerKey } from '../../entitlements/model.ts'
import { keyPart } from '../keys.ts'

/** The stream that a bucket is. */
export const streamOf = (bucket: string): string => `KV_${bucket}`

/** @param key of the bucket; it may end in `>`. */
export const subjectOfKey = (bucket: string, key: string): string => `$KV.${bucket}.${key}`

export const keyOfSubject = (bucket: string, subject: string): string => subject.slice(subjectOfKey(bucket, '').length)

/** Where a tenant's questions travel: its name is in the subject, so that the server knows who may ask what. */
export const questionsOf = (bucket: string, tenantId: string): string => `tollgate.ask.${bucket}.${keyPart(tenantId)}`

/** Those of all tenants. */
export const allQuestions = (bucket: string): string => `tollgate.ask.${bucket}.*`

/** Named where a tenant is named, for all of them. No tenant can have this id. */
const EVERYBODY = '*'

/**
 * Where all control planes hear what is told: processes that may ask about every tenant speak here, and control planes pass on what
 * they hear from others. The permissions for questions cover it, and nobody's who may ask about some tenants only.
 */
export const toldToAll = (bucket: string): string => questionsOf(bucket, EVERYBODY)

/** Where older sidecars ask, of whatever tenant. Answered for one more release. */
export const olderQuestions = (bucket: string): string => `tollgate.ask.${bucket}`

/** The last token of a question's subject: whose it is. Undefined where it does not say. */
export const tenantAsked = (bucket: string, subject: string): string | undefined => {
  const head = questionsOf(bucket, '')
  return subject.startsWith(head) ? Buffer.from(subject.slice(head.length), 'base64url').toString() : undefined
}

/** Where is told what a customer has used. */
export const usageSubject = (bucket: string, { tenantId, storefrontId, customerId }: CustomerKey): string =>
  `tollgate.usage.${bucket}.${keyPart(tenantId)}.${keyPart(storefrontId)}.${keyPart(customerId)}`

/** That of all customers of a tenant. */
export const usageSubjectsOfTenant = (bucket: string, tenantId: string): string => `tollgate.usage.${bucket}.${keyPart(tenantId)}.>`

/** That of everybody. */
export const allUsageSubjects = (bucket: string): string => `tollgate.usage.${bucket}.>`

/** The stream of events. */
export const EVENT_STREAM = 'tollgate-events'
export const EVENT_SUBJECTS = 'tollgate.events.>'

const isToken = (text: string): boolean => /^[A-Za-z0-9_-]+$/.test(text)

/** Where an event travels: `tollgate.events.acme.payment.failed`. A tenant whose id is no token of a subject stands in base64url, after a `=`. */
export const eventSubject = (tenantId: string, type: string): string => `tollgate.events.${isToken(tenantId) ? tenantId : `=${keyPart(tenantId)}`}.${type}`

/** Under which a user is answered. Nobody else may listen there; and whoever may listen to `_INBOX.>` may use it. */
export const inboxOf = (publicKey: string): string => `_INBOX.${publicKey}`
