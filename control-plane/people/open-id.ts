/**
 * Signing in at a tenant's identity provider: OpenID Connect's code flow with PKCE, state and nonce. What a sign-in began with is in
 * the browser alone, sealed, so that nobody who only opens the address makes anything be stored.
 */

import { LRUCache } from 'lru-cache'
import {
  allowInsecureRequests,
  authorizationCodeGrant,
  buildAuthorizationUrl,
  type Configuration,
  calculatePKCECodeChallenge,
  customFetch,
  discovery,
  fetchUserInfo,
  None,
  randomNonce,
  randomPKCECodeVerifier,
  randomState,
} from 'openid-client'
import { z } from 'zod'
import { defined } from '../../common/defined.ts'
import { AppError } from '../../common/errors.ts'
import { Secret } from '../../common/secret.ts'
import { derivedId, keys } from '../keys.ts'
import { createOutgoingTransport } from '../outgoing-http.ts'
import type { Services } from '../ports.ts'
import type { IdentityProvider, User } from '../schemas/user.ts'
import { insertOrGet, update } from '../storage/update.ts'
import { mustBeOpen } from './open-tenant.ts'

const TIMEOUT_MS = 10_000
/** How long somebody may take at the identity provider. */
export const SIGN_IN_MS = 10 * 60_000
const SEALED_FOR = 'sign-in'
/** Its keys and addresses are asked for again. */
const KNOWN_FOR_MS = 10 * 60_000
const AWAY_FOR_MS = 30_000

export interface OpenId {
  /** @returns where the browser goes, and what it keeps meanwhile. */
  begin(tenantId: string, callback: string, returnTo: string): Promise<{ location: string; kept: string }>
  /**
   * @param url with which the browser has come back. @param kept what it kept.
   * @throws AppError `unauthenticated`, or `forbidden` for somebody whose groups have no role here.
   */
  finish(tenantId: string, url: URL, kept: string | undefined): Promise<{ user: User; returnTo: string }>
}

const pending = z.object({
  tenantId: z.string(),
  state: z.string(),
  nonce: z.string(),
  verifier: z.string(),
  returnTo: z.string(),
  until: z.number(),
  /** The provider at which the sign-in began: a code is shown to no other. */
  issuer: z.string(),
  clientId: z.string(),
})

const cut = (most: number) => z.string().transform((text) => text.slice(0, most))
/** https://openid.net/specs/openid-connect-core-1_0.html#IDToken: a subject has 255 characters at most. */
const claimed = z.looseObject({ sub: z.string().min(1).max(255), email: cut(254).optional(), name: cut(200).optional() })

const anew = (cause?: unknown) => new AppError('unauthenticated', 'the sign-in did not start here, took too long, or was refused: start again', [], { cause })

/** Errors carry what was sent and answered, which holds codes and tokens: of them this much is told. */
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error)).slice(0, 200)

/** It is not answered, or is none; told of once, and not asked again for a while. */
export class IdentityProviderAwayError extends AppError {
  constructor(options?: ErrorOptions) {
    super('unavailable', 'the issuer cannot be reached, or is not an identity provider; one in your own network needs OIDC_PRIVATE_URLS=true', [], options)
  }
}

/** @param allowPrivate whether identity providers may be in our own network, and without TLS. */
export const createOpenId = (services: Services, allowPrivate: boolean): OpenId => {
  const { storage, sealing, clock, log } = services
  const transport = createOutgoingTransport({ timeoutMs: TIMEOUT_MS, onlyPublic: !allowPrivate })
  const known = new LRUCache<string, Configuration>({ max: 1_000, ttl: KNOWN_FOR_MS })
  /** The providers that did not answer, by revision: anybody may begin a sign-in, and makes us ask no more often than this. */
  const away = new LRUCache<string, true>({ max: 10_000, ttl: AWAY_FOR_MS })
  const asking = new Map<string, Promise<Configuration>>()

  const providerOf = async (tenantId: string): Promise<IdentityProvider> => {
    await mustBeOpen(services, tenantId)
    const provider = await storage.identityProviders.find(keys.identityProvider(tenantId))
    // Whether there is such a tenant is nobody's business.
    if (!provider) throw new AppError('not_found', 'the tenant has no identity provider')
    return provider
  }

  const configurationOf = (provider: IdentityProvider): Promise<Configuration> => {
    const key = `${provider._id} ${provider.revision}`
    const there = known.get(key)
    if (there) return Promise.resolve(there)
    if (away.has(key)) return Promise.reject(new IdentityProviderAwayError())
    const asked = asking.get(key) ?? ask(provider, key).finally(() => asking.delete(key))
    asking.set(key, asked)
    return asked
  }

  const ask = async (provider: IdentityProvider, key: string): Promise<Configuration> => {
    try {
      const secret = provider.clientSecret ? sealing.open(provider.clientSecret, provider._id) : undefined
      const found = await discovery(new URL(provider.issuer), provider.clientId, secret?.reveal(), secret === undefined ? None() : undefined, {
        [customFetch]: (url, options) => transport.fetch(url, options as RequestInit),
        ...(allowPrivate ? { execute: [allowInsecureRequests] } : {}),
      })
      known.set(key, found)
      return found
    } catch (error) {
      log.warn({ why: messageOf(error), tenantId: provider.tenantId }, "an identity provider's configuration could not be read")
      away.set(key, true)
      throw new IdentityProviderAwayError({ cause: error })
    }
  }

  const readKept = (tenantId: string, kept: string | undefined): z.output<typeof pending> => {
    try {
      const read = pending.parse(JSON.parse(sealing.open(Buffer.from(kept ?? '', 'base64url').toString(), SEALED_FOR).reveal()))
      if (read.tenantId === tenantId && read.until > clock.nowMs()) return read
    } catch (error) {
      throw anew(error)
    }
    throw anew()
  }

  /** The identity provider's word counts: who is in no group that has a role any more has none. */
  const admit = async (tenantId: string, provider: IdentityProvider, issuer: string, claims: z.output<typeof claimed>): Promise<User> => {
    const theirs = claims[provider.groupsClaim]
    const groups = Array.isArray(theirs) ? theirs : [theirs]
    const fitting = provider.groups.find(({ group }) => groups.includes(group))
    if (!fitting) throw new AppError('forbidden', 'none of your groups has a role here: ask an administrator of this tenant')
    // As it spells itself, however the tenant does.
    const id = derivedId('usr', tenantId, issuer, claims.sub)
    const now = clock.now()
    const { role, storefronts } = fitting
    const facts = {
      email: claims.email ?? claims.sub,
      ...(claims.name === undefined ? {} : { name: claims.name }),
      role,
      // Named even where there is none, so that a limit of before goes.
      storefronts,
      identity: { issuer, subject: claims.sub },
      lastSignInAt: now,
    }
    const made = await insertOrGet(storage.users, defined({ _id: keys.user(tenantId, id), tenantId, id, status: 'active' as const, createdAt: now, ...facts }))
    const user =
      made.lastSignInAt?.getTime() === now.getTime() ? made : await update(storage.users, made._id, (latest) => defined({ ...latest, ...facts }), made)
    if (user.status === 'disabled') throw new AppError('forbidden', 'your account is disabled: ask an administrator of this tenant')
    return user
  }

  return {
    begin: async (tenantId, callback, returnTo) => {
      const provider = await providerOf(tenantId)
      const configuration = await configurationOf(provider)
      const [state, nonce, verifier] = [randomState(), randomNonce(), randomPKCECodeVerifier()]
      const url = buildAuthorizationUrl(configuration, {
        redirect_uri: callback,
        scope: provider.scopes.join(' '),
        code_challenge: await calculatePKCECodeChallenge(verifier),
        code_challenge_method: 'S256',
        state,
        nonce,
      })
      const { issuer, clientId } = provider
      const kept = JSON.stringify({ tenantId, state, nonce, verifier, returnTo, until: clock.nowMs() + SIGN_IN_MS, issuer, clientId } satisfies z.output<
        typeof pending
      >)
      return { location: url.href, kept: Buffer.from(sealing.seal(new Secret(kept), SEALED_FOR)).toString('base64url') }
    },
    finish: async (tenantId, url, kept) => {
      const begun = readKept(tenantId, kept)
      const provider = await providerOf(tenantId)
      if (provider.issuer !== begun.issuer || provider.clientId !== begun.clientId) throw anew()
      const configuration = await configurationOf(provider)
      let claims: z.output<typeof claimed>
      try {
        const tokens = await authorizationCodeGrant(configuration, url, {
          pkceCodeVerifier: begun.verifier,
          expectedState: begun.state,
          expectedNonce: begun.nonce,
          idTokenExpected: true,
        })
        claims = claimed.parse(tokens.claims())
        // Many say groups only when they are asked.
        if (claims[provider.groupsClaim] === undefined && configuration.serverMetadata().userinfo_endpoint)
          claims = claimed.parse({ ...(await fetchUserInfo(configuration, tokens.access_token, claims.sub)), ...claims })
      } catch (error) {
        log.warn({ why: messageOf(error), tenantId }, 'a sign-in at an identity provider failed')
        throw anew(error)
      }
      // It may have been ended, or the provider taken away, while it was asked.
      await providerOf(tenantId)
      return { user: await admit(tenantId, provider, configuration.serverMetadata().issuer, claims), returnTo: begun.returnTo }
    },
  }
}
