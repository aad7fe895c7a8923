/** Finds the adapter that serves a tenant's PSP account. */
import { LRUCache } from 'lru-cache'
import type { z } from 'zod'
import type { Clock } from '../../../common/clock.ts'
import { isAppError } from '../../../common/errors.ts'
import { Secret } from '../../../common/secret.ts'
import type { PspAccount, pspProviders } from '../../schemas/psp-account.ts'
import type { Tenant } from '../../schemas/tenant.ts'
import type { Sealing } from '../../storage/sealing.ts'
import type { Circuit, Psp, PspAccess, PspDirectory, SandboxTime } from './psp.ts'
import { tracedPsp } from './traced.ts'

export interface PspOptions<Credentials> {
  credentials: Credentials
  webhookSecret: Secret | undefined
  /** `separate`: charges are only authorized, and captured by a second call. */
  capture: 'automatic' | 'separate'
  /** The page that customers come back to after having acted. */
  returnUrl: string
  timeoutMs: number
}

/** A provider as its adapter's folder exports it. */
export interface PspProvider<Credentials = unknown> {
  /** The parts that an account has to have, by the names that the provider uses. Secret parts are a `Secret` each. */
  credentials: z.ZodType<Credentials>
  /** Why events of the provider would be refused; undefined when they can be verified. */
  webhookProblem(credentials: Credentials, webhookSecret: Secret | undefined): string | undefined
  create(options: PspOptions<Credentials>): Psp
}

export type Provider = Exclude<(typeof pspProviders)[number], 'simulator'>

interface OpenedSecrets {
  /** By the names that the provider's library uses. */
  credentials: unknown
  webhookSecret: Secret | undefined
  former: { credentials?: object; webhookSecret: Secret | undefined } | undefined
}

/** @param text as `catalog/psp-accounts.ts` joins them. */
const formerOf = (text: Secret): OpenedSecrets['former'] => {
  const { credentials, webhookSecret } = JSON.parse(text.reveal()) as { credentials?: object; webhookSecret?: string }
  return { ...(credentials ? { credentials } : {}), webhookSecret: webhookSecret === undefined ? undefined : new Secret(webhookSecret) }
}

type Made = { psp: Psp; webhookProblem: string | undefined } | { unusable: string }

export interface PspDirectoryOptions {
  // biome-ignore lint/suspicious/noExplicitAny: each provider's own credentials, checked by its own schema.
  providers: Record<Provider, PspProvider<any>>
  simulator(options: { tenantId: string; accountId: string; webhookSecret: Secret | undefined; testNow: Date | undefined }): Psp
  sandbox: SandboxTime
  sealing: Sealing
  clock: Pick<Clock, 'nowMs'>
  circuitOf(account: string): Circuit
  returnUrl: () => string
  timeoutMs: number
  simulatorTimeoutMs: number
  /** True: live tenants may pay by the simulator, which moves no money. */
  simulatorInLive: boolean
}

/** What was signed before the secret changed is accepted too, until the provider has stopped sending it. */
const acceptingBoth = (psp: Psp, former: Psp, isOver: () => boolean): Psp => ({
  ...psp,
  verifyWebhook: async (request) => {
    try {
      await psp.verifyWebhook(request)
    } catch (error) {
      if (!isAppError(error, 'signature_invalid') || isOver()) throw error
      await former.verifyWebhook(request)
    }
  },
})

/** More accounts than one process serves at once; an adapter that is forgotten is made again. */
const MAX_OPEN = 1_000

export const createPspDirectory = (options: PspDirectoryOptions): PspDirectory => {
  const opened = new LRUCache<string, Made>({ max: MAX_OPEN })

  const openSecrets = ({ _id, credentials, webhookSecret, formerSecrets }: PspAccount): OpenedSecrets | { unusable: string } => {
    const open = (stored: string) => options.sealing.open(stored, _id)
    const openFormer = () => {
      try {
        return formerSecrets && formerOf(open(formerSecrets.sealed))
      } catch {
        // They verify events of yesterday: an account works without.
        return undefined
      }
    }
    try {
      return {
        credentials: credentials ? JSON.parse(open(credentials).reveal()) : {},
        webhookSecret: webhookSecret ? open(webhookSecret) : undefined,
        former: openFormer(),
      }
    } catch {
      return { unusable: 'its secrets cannot be decrypted: CREDENTIALS_KEY does not contain the key that they were encrypted with' }
    }
  }

  const create = (provider: Provider, account: PspAccount): Made => {
    const { credentials, webhookProblem, create } = options.providers[provider]
    const secrets = openSecrets(account)
    if ('unusable' in secrets) return secrets
    const parsed = credentials.safeParse(secrets.credentials)
    if (!parsed.success) {
      const wrong = parsed.error.issues.flatMap((issue) =>
        issue.code === 'unrecognized_keys'
          ? issue.keys.map((key) => `credentials.${key} is not a credential of ${provider}`)
          : [`${['credentials', ...issue.path].join('.')} ${issue.message}`],
      )
      return { unusable: wrong.join('; ') }
    }
    const adapterWith = (credentials: unknown, webhookSecret: Secret | undefined) =>
      create({
        credentials,
        webhookSecret,
        capture: account.capture ?? 'automatic',
        returnUrl: account.returnUrl ?? options.returnUrl(),
        timeoutMs: options.timeoutMs,
      })
    const psp = adapterWith(parsed.data, secrets.webhookSecret)
    const former = secrets.former && credentials.safeParse({ ...(secrets.credentials as object), ...secrets.former.credentials })
    return {
      webhookProblem: webhookProblem(parsed.data, secrets.webhookSecret),
      psp: former?.success
        ? acceptingBoth(
            psp,
            adapterWith(former.data, secrets.former?.webhookSecret),
            () => options.clock.nowMs() >= (account.formerSecrets?.until.getTime() ?? 0),
          )
        : psp,
    }
  }
  /** Adapters keep connections and access tokens: the same one as long as the account is the same. */
  const createOnce = (provider: Provider, account: PspAccount): Made => {
    const key = `${account._id}@${account.revision}`
    const known = opened.get(key)
    if (known) return known
    const made = create(provider, account)
    opened.set(key, made)
    return made
  }

  const openAccount = (tenant: Tenant, accountId: string, account: PspAccount | undefined): PspAccess => {
    const at = { tenantId: tenant.tenantId, accountId }
    const { simulatorTimeoutMs: timeoutMs } = options
    const capture = account?.capture ?? 'automatic'
    if (tenant.mode === 'sandbox')
      return {
        psp: options.simulator({ ...at, webhookSecret: undefined, testNow: tenant.testNow ?? undefined }),
        capture,
        webhookProblem: undefined,
        timeoutMs,
        circuit: undefined,
      }
    if (!account) return { unusable: 'no such account' }
    const circuit = options.circuitOf(account._id)
    if (account.provider === 'simulator') {
      if (!options.simulatorInLive)
        return { unusable: 'the simulator takes no real money, so live tenants cannot use it in production; SIMULATOR_IN_LIVE=true allows it' }
      const secrets = openSecrets(account)
      if ('unusable' in secrets) return secrets
      return {
        psp: options.simulator({ ...at, webhookSecret: secrets.webhookSecret, testNow: undefined }),
        capture,
        webhookProblem: undefined,
        timeoutMs,
        circuit,
      }
    }
    const made = createOnce(account.provider, account)
    return 'unusable' in made ? made : { ...made, capture, timeoutMs: options.timeoutMs, circuit }
  }

  return {
    sandbox: options.sandbox,
    open: (tenant, accountId, account) => {
      const access = openAccount(tenant, accountId, account)
      const provider = tenant.mode === 'sandbox' ? 'simulator' : (account?.provider ?? 'simulator')
      return 'unusable' in access ? access : { ...access, psp: tracedPsp(access.psp, provider) }
    },
  }
}
