/** Somebody with a browser who has taken an invitation. */
import type { ExecutionContext } from 'ava'
import { type TOTP, URI } from 'otpauth'
import { type Browser, openBrowser, type Visit } from './browser.ts'
import type { Shop } from './shop.ts'
import type { Tollgate } from './tollgate.ts'

export const PASSWORD = 'four words of nonsense'

/** @param steps of 30 seconds from now. */
export const totpCodeOf = (uri: string, steps = 0): string => (URI.parse(uri) as TOTP).generate({ timestamp: Date.now() + steps * 30_000 })

export interface Person {
  browser: Browser
  id: string
  uri: string
  csrf: string
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Visit>
}

/** Somebody who has taken an invitation. */
export const come = async (t: ExecutionContext, tollgate: Tollgate, shop: Shop, input: object): Promise<Person> => {
  const invited = await shop.api.post('/users', input)
  t.is(invited.status, 201, JSON.stringify(invited.body))
  const { id, invitation } = invited.body
  const browser = openBrowser()
  const post = (path: string, body: object) => browser.go(`${tollgate.http}/v1${path}`, { method: 'POST', body })
  const { totpUri } = (await post('/sign-in/invitation', { invitation })).body
  // The code before this one, so that the next ones are good as well; it may run out on its way.
  const take = () => post('/sign-in/invitation/take', { invitation, password: PASSWORD, code: totpCodeOf(totpUri, -1) })
  let taken = await take()
  for (let tries = 0; tries < 5 && taken.body.field === 'code'; tries += 1) taken = await take()
  t.is(taken.status, 200, JSON.stringify(taken.body))
  const { csrfToken } = taken.body
  return {
    browser,
    id,
    uri: totpUri,
    csrf: csrfToken,
    call: (method, path, body, headers = {}) =>
      browser.go(`${tollgate.http}/v1${path}`, { method, body, headers: { ...(method === 'GET' ? {} : { 'x-csrf-token': csrfToken }), ...headers } }),
  }
}
