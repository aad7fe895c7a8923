/** A real identity provider (oidc-provider) on this machine, where whoever names themselves is signed in. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Provider } from 'oidc-provider'
import type { Browser } from './browser.ts'

export interface TestIdentityProvider {
  issuer: string
  clientId: string
  clientSecret: string
  /** Signs somebody in, from the page that a sign-in has led to; undefined where the provider has let nobody in. */
  signIn(browser: Browser, page: string, name: string): Promise<string>
  /** What the client asked for: of each authorization request its parameters. */
  asked: URLSearchParams[]
  close(): Promise<void>
}

/** @param groups of each who may sign in. @param knowsRedirect which addresses are come back to. */
export const startIdentityProvider = async (groups: Record<string, string[]>, redirectUris: string[]): Promise<TestIdentityProvider> => {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const [clientId, clientSecret] = ['tollgate', 'a-secret-of-the-client-0123456789']
  const asked: URLSearchParams[] = []
  const provider = new Provider(issuer, {
    clients: [{ client_id: clientId, client_secret: clientSecret, redirect_uris: redirectUris, grant_types: ['authorization_code'], response_types: ['code'] }],
    claims: { openid: ['sub'], email: ['email'], profile: ['name', 'groups'] },
    findAccount: (_, id) => ({
      accountId: id,
      claims: async () => ({ sub: id, email: `${id}@example.com`, name: id, groups: groups[id] ?? [] }),
    }),
    pkce: { required: () => true },
    cookies: { keys: ['only-for-tests'] },
    features: { devInteractions: { enabled: true } },
  })
  const answer = provider.callback()
  server.on('request', (request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '', issuer)
    if (pathname === '/auth') asked.push(searchParams)
    void answer(request, response)
  })
  return {
    issuer,
    clientId,
    clientSecret,
    asked,
    // The pages of oidc-provider for trying things out: a form for the name, and one for consent.
    signIn: async (browser, page, name) => {
      const login = await browser.go(page, { method: 'POST', form: { prompt: 'login', login: name, password: 'any' } })
      const consent = await browser.go(login.url, { method: 'POST', form: { prompt: 'consent' } })
      return consent.url
    },
    close: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
