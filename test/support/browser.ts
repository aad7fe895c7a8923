/** As much of a browser as signing in takes: it keeps cookies by host, and goes where it is sent. */
export interface Visit {
  status: number
  url: string
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape.
  body: any
  headers: Headers
}

export interface Browser {
  /** @param follow whether it goes where it is sent. */
  go(
    url: string,
    options?: { method?: string; body?: unknown; form?: Record<string, string>; headers?: Record<string, string>; follow?: boolean },
  ): Promise<Visit>
  cookie(url: string, name: string): string | undefined
  /** As an attacker, or a user who clears a site's data, would. */
  forget(url: string, name: string): void
}

const MAX_HOPS = 20

export const openBrowser = (): Browser => {
  const jars = new Map<string, Map<string, string>>()
  const jarOf = (url: string) => {
    const { host } = new URL(url)
    const jar = jars.get(host) ?? new Map<string, string>()
    jars.set(host, jar)
    return jar
  }
  const once = async (url: string, init: RequestInit): Promise<Response> => {
    const jar = jarOf(url)
    const headers = new Headers(init.headers)
    if (jar.size > 0) headers.set('cookie', [...jar].map(([name, value]) => `${name}=${value}`).join('; '))
    const answer = await fetch(url, { ...init, headers, redirect: 'manual' })
    for (const line of answer.headers.getSetCookie()) {
      const [pair = '', ...attributes] = line.split(';')
      const name = pair.slice(0, pair.indexOf('='))
      const value = pair.slice(pair.indexOf('=') + 1)
      const isGone = attributes.some((one) => /^\s*expires=Thu, 01 Jan 1970|^\s*max-age=0/i.test(one))
      if (value === '' || isGone) jar.delete(name)
      else jar.set(name, value)
    }
    return answer
  }
  return {
    go: async (start, { method = 'GET', body, form, headers = {}, follow = true } = {}) => {
      const sent = form ? new URLSearchParams(form).toString() : body === undefined ? undefined : JSON.stringify(body)
      const type = form ? 'application/x-www-form-urlencoded' : 'application/json'
      let url = start
      let answer = await once(url, {
        method,
        headers: { ...headers, ...(sent === undefined ? {} : { 'content-type': type }) },
        ...(sent === undefined ? {} : { body: sent }),
      })
      for (let hops = 0; follow && hops < MAX_HOPS && answer.status >= 300 && answer.status < 400; hops += 1) {
        url = new URL(answer.headers.get('location') ?? '', url).href
        answer = await once(url, { method: 'GET' })
      }
      const text = await answer.text()
      const isJson = /json(;|$)/.test(answer.headers.get('content-type') ?? '')
      return { status: answer.status, url, body: isJson && text !== '' ? JSON.parse(text) : text, headers: answer.headers }
    },
    cookie: (url, name) => jarOf(url).get(name),
    forget: (url, name) => void jarOf(url).delete(name),
  }
}
