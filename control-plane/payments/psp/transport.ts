/**
 * HTTP as every adapter's library is made to use it: a bound on how long a call takes, no redirects (a charge is made
 * where it was sent, or not at all), and another base URL where the environment names one.
 */
export interface Transport {
  fetch(url: string | URL, init?: RequestInit): Promise<Response>
}

/** @param baseUrl takes the place of the origin that the library would call; a path in it comes before the library's. */
export const createTransport = (timeoutMs: number, baseUrl?: string): Transport => ({
  fetch: (url, init = {}) => {
    const target = new URL(url)
    const base = baseUrl === undefined ? undefined : new URL(baseUrl)
    const to = base ? new URL(`${base.pathname.replace(/\/$/, '')}${target.pathname}${target.search}`, base) : target
    return fetch(to, { ...init, redirect: 'error', signal: AbortSignal.timeout(timeoutMs) })
  },
})
