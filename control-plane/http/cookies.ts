/** Our cookies, by their short names. */
import type { RouterContext } from '@koa/router'
import type { Cookie, CookieName } from './route.ts'

interface Reached {
  /** The address at which callers reach us. */
  publicUrl(): string
}

/** A browser sends a `__Host-` cookie to no other host, and only over TLS: https://www.rfc-editor.org/rfc/rfc6265. */
const cookieName = ({ publicUrl }: Reached, name: CookieName): { full: string; secure: boolean } => {
  const secure = publicUrl().startsWith('https:')
  return { full: `${secure ? '__Host-' : ''}tollgate-${name}`, secure }
}

export const cookieOf = (context: RouterContext, options: Reached, name: CookieName): string | undefined =>
  context.cookies.get(cookieName(options, name).full) || undefined

export const setCookie = (context: RouterContext, options: Reached, { name, value, maxAgeMs }: Cookie): void => {
  const { full, secure } = cookieName(options, name)
  // TLS ends at a proxy before us.
  if (secure) context.cookies.secure = true
  // Lax: whoever comes back from an identity provider is sent here by another site.
  context.cookies.set(full, value, { httpOnly: true, secure, sameSite: 'lax', path: '/', maxAge: maxAgeMs, signed: false, overwrite: true })
}
