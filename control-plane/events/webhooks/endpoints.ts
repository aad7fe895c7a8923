/** Where a tenant wants its events sent, and the secrets that sign what is sent there. */
import { randomBytes } from 'node:crypto'
import { defined } from '../../../common/defined.ts'
import { HOUR_MS } from '../../../common/durations.ts'
import { AppError, fieldError } from '../../../common/errors.ts'
import { Secret } from '../../../common/secret.ts'
import { isInternalAddress } from '../../outgoing-http.ts'
import type { WebhookEndpoint } from '../../schemas/webhook-endpoint.ts'
import { removeForGood } from '../../storage/remove.ts'
import { update } from '../../storage/update.ts'
import type { TenantScope } from '../../tenant-scope.ts'

/** Each event is sent to every endpoint that wants it: this bounds what one event makes. */
const MAX_ENDPOINTS = 100
/** Every message is signed with each. */
const MAX_SECRETS = 5

export interface EndpointInput {
  url: string
  description?: string | undefined
  types: string[]
  storefrontIds?: string[] | undefined
  ordered: boolean
  enabled: boolean
  metadata?: Record<string, string> | undefined
}

/** A field that is null is removed. */
export type EndpointChange = { [K in keyof EndpointInput]?: EndpointInput[K] | null | undefined }

type StoredSecret = WebhookEndpoint['secrets'][number]

const newWebhookSecret = (): Secret => new Secret(`whsec_${randomBytes(32).toString('base64')}`)

const isLiving = ({ expiresAt }: StoredSecret, now: Date): boolean => !expiresAt || expiresAt > now

/** The secrets that a message is signed with now. @throws Error if one cannot be decrypted. */
export const signingSecrets = ({ sealing, clock }: Pick<TenantScope, 'sealing' | 'clock'>, { _id, secrets }: WebhookEndpoint): Secret[] =>
  secrets.filter((one) => isLiving(one, clock.now())).map(({ secret }) => sealing.open(secret, _id))

/** @throws AppError `invalid_request` on `url`. */
const checkUrl = (text: string, allowPrivate: boolean): void => {
  if (allowPrivate) return
  const url = new URL(text)
  const refuse = (why: string) => fieldError('invalid_request', 'url', `${why}; for development, WEBHOOK_PRIVATE_URLS=true allows it`)
  if (url.protocol !== 'https:') throw refuse('must begin with https://')
  if (isInternalAddress(url)) throw refuse('must not be an address of a private network')
}

const tooMany = () => new AppError('not_allowed_in_state', `there are ${MAX_ENDPOINTS} webhook endpoints, which is the most: delete one that you do not need`)

const count = async ({ storage, tenantId }: TenantScope): Promise<number> =>
  (await storage.webhookEndpoints.page({ where: { tenantId }, limit: MAX_ENDPOINTS + 1 })).data.length

/** @param lastPlace of the log: what happens while it is disabled is not sent, but may be replayed. */
const withState = (endpoint: WebhookEndpoint, enabled: boolean, now: Date, lastPlace: number): WebhookEndpoint => {
  if (endpoint.enabled === enabled) return endpoint
  return defined({
    ...endpoint,
    ...(enabled ? { fromPosition: lastPlace } : {}),
    enabled,
    disabledAt: enabled ? undefined : now,
    disabledReason: enabled ? undefined : ('asked' as const),
  })
}

/**
 * @param given the caller's own secret; without, one is made.
 * @returns the endpoint and its secret, which is shown now and never again.
 * @throws AppError `invalid_request` on `url`, or `not_allowed_in_state` if there are too many.
 */
export const createEndpoint = async (
  of: TenantScope,
  ids: { id: string; secretId: string },
  { enabled, ...input }: EndpointInput,
  given: Secret | undefined,
  allowPrivate: boolean,
): Promise<{ endpoint: WebhookEndpoint; secret: Secret }> => {
  checkUrl(input.url, allowPrivate)
  if ((await count(of)) >= MAX_ENDPOINTS) throw tooMany()
  const { storage, sealing, clock, tenantId, events } = of
  const [_id, now, secret] = [of.keys.webhookEndpoint(ids.id), clock.now(), given ?? newWebhookSecret()]
  const endpoint = await storage.webhookEndpoints.insert(
    defined({
      _id,
      tenantId,
      createdAt: now,
      id: ids.id,
      ...input,
      enabled,
      fromPosition: await events.logs.lastPlace(tenantId),
      ...(enabled ? {} : { disabledAt: now, disabledReason: 'asked' as const }),
      secrets: [{ id: ids.secretId, secret: sealing.seal(secret, _id), createdAt: now }],
    }),
  )
  // Looked at afterwards, too: of two that are made at the same moment each finds the other.
  if ((await count(of)) > MAX_ENDPOINTS) {
    await removeForGood(storage.webhookEndpoints, _id)
    throw tooMany()
  }
  await events.logs.nudge(tenantId)
  return { endpoint, secret }
}

/** @throws AppError `not_found`, or `invalid_request` on `url`; what `check` throws. */
export const changeEndpoint = async (
  of: TenantScope,
  id: string,
  check: (endpoint: WebhookEndpoint) => void,
  { enabled, ...change }: EndpointChange,
  allowPrivate: boolean,
): Promise<WebhookEndpoint> => {
  if (typeof change.url === 'string') checkUrl(change.url, allowPrivate)
  const lastPlace = await of.events.logs.lastPlace(of.tenantId)
  const changed = await update(of.storage.webhookEndpoints, of.keys.webhookEndpoint(id), (endpoint) => {
    check(endpoint)
    const said = Object.entries(change).filter(([, value]) => value !== undefined)
    const wanted = defined({ ...endpoint, ...Object.fromEntries(said.map(([field, value]) => [field, value ?? undefined])) }) as WebhookEndpoint
    return withState(wanted, enabled ?? endpoint.enabled, of.clock.now(), lastPlace)
  })
  await of.events.logs.nudge(of.tenantId)
  return changed
}

/** @throws AppError `not_found`; what `check` throws. */
export const removeEndpoint = async (of: TenantScope, id: string, check: (endpoint: WebhookEndpoint) => void): Promise<void> => {
  const endpoint = await of.storage.webhookEndpoints.get(of.keys.webhookEndpoint(id))
  check(endpoint)
  await of.storage.webhookEndpoints.remove(endpoint)
  await of.events.logs.nudge(of.tenantId)
}

/**
 * Adds a secret; those before it expire. Messages are signed with all that have not.
 * @throws AppError `not_found`, or `not_allowed_in_state` if too many are living; what `check` throws.
 */
export const rotateSecret = async (
  of: TenantScope,
  { id, secretId, expirePreviousInHours }: { id: string; secretId: string; expirePreviousInHours: number },
  check: (endpoint: WebhookEndpoint) => void,
): Promise<{ endpoint: WebhookEndpoint; secret: Secret }> => {
  const secret = newWebhookSecret()
  const endpoint = await update(of.storage.webhookEndpoints, of.keys.webhookEndpoint(id), (latest) => {
    check(latest)
    const now = of.clock.now()
    const until = new Date(now.getTime() + expirePreviousInHours * HOUR_MS)
    const previous = latest.secrets
      .map((one) => (one.expiresAt && one.expiresAt < until ? one : { ...one, expiresAt: until }))
      .filter((one) => isLiving(one, now))
    if (previous.length >= MAX_SECRETS)
      throw new AppError('not_allowed_in_state', `the endpoint has ${MAX_SECRETS} secrets that have not expired, which is the most: delete one first`)
    return { ...latest, secrets: [...previous, { id: secretId, secret: of.sealing.seal(secret, latest._id), createdAt: now }] }
  })
  await of.events.logs.nudge(of.tenantId)
  return { endpoint, secret }
}

/** @throws AppError `not_found`, or `not_allowed_in_state` for the secret that does not expire; what `check` throws. */
export const removeSecret = async (of: TenantScope, id: string, secretId: string, check: (endpoint: WebhookEndpoint) => void): Promise<WebhookEndpoint> => {
  const kept = await update(of.storage.webhookEndpoints, of.keys.webhookEndpoint(id), (endpoint) => {
    check(endpoint)
    const removed = endpoint.secrets.find((one) => one.id === secretId)
    if (!removed) throw new AppError('not_found', 'the endpoint has no such secret')
    if (!removed.expiresAt)
      throw new AppError('not_allowed_in_state', 'it is the current secret, and nothing would sign without it: rotate it with expirePreviousInHours 0')
    return { ...endpoint, secrets: endpoint.secrets.filter((one) => one !== removed) }
  })
  await of.events.logs.nudge(of.tenantId)
  return kept
}
