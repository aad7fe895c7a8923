/**
 * The permissions that users of NATS need for the feed, and no more. Pure. `npm run nats:config` writes them, and a test checks
 * them against real servers.
 *
 * **An account for each sidecar, and imports.** Permissions alone would not do: whoever may ask JetStream anything names the
 * subject that is answered to, and the server, which may everything, publishes there: a key of another tenant, or the
 * request that deletes the stream. An account of its own has neither, and what is imported is answered into it.
 *
 * For a reader of some tenants, every subject names a tenant, or a key of the bucket itself. Such a reader may not ask for the
 * stream's state, which lists everybody's keys. It may not ask for messages by sequence, nor for a consumer whose filter is only
 * in the body of the request: both could read anything.
 */
import { clockKey, FORGOTTEN_KEY, keysOfTenant } from '../keys.ts'
import {
  allQuestions,
  allUsageSubjects,
  EVENT_STREAM,
  EVENT_SUBJECTS,
  inboxOf,
  olderQuestions,
  questionsOf,
  streamOf,
  subjectOfKey,
  usageSubjectsOfTenant,
} from './names.ts'
import { BEAT_KEY, STATE_KEY } from './state.ts'

/** Where JetStream is asked in the account that has it. */
export const OWN_API = '$JS.API'
/** Where it is asked in others: there `$JS.API` is the account's own, which has none, and says so. */
export const IMPORTED_API = 'tollgate.js'

/** Keys that say of the bucket how it is, and nothing of anybody. */
const BUCKET_KEYS = [STATE_KEY, BEAT_KEY, FORGOTTEN_KEY]

/** The keys that a watch of these tenants follows. */
export const keysOfTenants = (tenants: readonly string[]): string[] => [
  ...tenants.flatMap((tenantId) => [keysOfTenant(tenantId), clockKey(tenantId)]),
  ...BUCKET_KEYS,
]

/** Requests to JetStream, without what they begin with. */
const requestsOfAll = (bucket: string): string[] => {
  const stream = streamOf(bucket)
  return [
    `STREAM.INFO.${stream}`,
    `STREAM.MSG.GET.${stream}`,
    `DIRECT.GET.${stream}.${subjectOfKey(bucket, '>')}`,
    `CONSUMER.CREATE.${stream}.*.${subjectOfKey(bucket, '>')}`,
    `CONSUMER.DELETE.${stream}.*`,
  ]
}

const requestsOfTenants = (bucket: string, tenants: readonly string[]): string[] => {
  const stream = streamOf(bucket)
  const subjects = keysOfTenants(tenants).map((key) => subjectOfKey(bucket, key))
  return [...subjects.map((subject) => `DIRECT.GET.${stream}.${subject}`), ...subjects.map((subject) => `CONSUMER.CREATE.${stream}.*.${subject}`)]
}

/** The subject on which a reader answers a consumer's flow control, before the consumer continues. */
const flowControl = (bucket: string): string => `$JS.FC.${streamOf(bucket)}.>`

export interface SidecarAccess {
  /** Requests to JetStream, without what they begin with. */
  requests: string[]
  /** Other subjects that it publishes to. */
  subjects: string[]
  /** The subject on which the sidecar receives answers and deliveries. */
  inbox: string
  /** Subjects on which it hears what customers have used. */
  usage: string[]
}

/** @param tenants that it reads and asks about; undefined: all. */
export const sidecarAccess = (bucket: string, publicKey: string, tenants: readonly string[] | undefined): SidecarAccess => ({
  requests: tenants === undefined ? requestsOfAll(bucket) : requestsOfTenants(bucket, tenants),
  subjects: [flowControl(bucket), ...(tenants === undefined ? [allQuestions(bucket)] : tenants.map((tenantId) => questionsOf(bucket, tenantId)))],
  inbox: `${inboxOf(publicKey)}.>`,
  usage: tenants === undefined ? [allUsageSubjects(bucket)] : tenants.map((tenantId) => usageSubjectsOfTenant(bucket, tenantId)),
})

/** The permissions of control planes, and of `npm start` with NATS_URL. They may also answer questions. */
export const controlPlaneAccess = (bucket: string, publicKey: string): { publish: string[]; subscribe: string[] } => {
  const stream = streamOf(bucket)
  const ofEvents = ['CREATE', 'UPDATE', 'INFO'].map((what) => `STREAM.${what}.${EVENT_STREAM}`)
  const requests = [
    ...ofEvents,
    `STREAM.CREATE.${stream}`,
    `STREAM.UPDATE.${stream}`,
    `STREAM.PURGE.${stream}`,
    `STREAM.MSG.DELETE.${stream}`,
    ...requestsOfAll(bucket),
  ]
  return {
    publish: [
      subjectOfKey(bucket, '>'),
      ...requests.map((request) => `${OWN_API}.${request}`),
      flowControl(bucket),
      allQuestions(bucket),
      allUsageSubjects(bucket),
      EVENT_SUBJECTS,
    ],
    subscribe: [`${inboxOf(publicKey)}.>`, allQuestions(bucket), olderQuestions(bucket), allUsageSubjects(bucket)],
  }
}
