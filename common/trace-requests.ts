import type Koa from 'koa'
import { currentTracer, traced } from './tracing.ts'

/** Asked every few seconds, by machines. */
const UNTRACED = new Set(['/healthz', '/readyz', '/metrics'])

/** A span per HTTP request, named by the route's template: the path itself may name a customer. To be used before all other middleware. */
export const traceRequests: Koa.Middleware = async (context, next) => {
  if (!currentTracer() || UNTRACED.has(context.path)) return next()
  const { method } = context
  const start = { name: method, kind: 'server', parent: context.get('traceparent') || undefined, attributes: { 'http.request.method': method } } as const
  return traced(start, async (span) => {
    await next()
    // @koa/router leaves it there.
    const route: unknown = context._matchedRoute
    if (typeof route === 'string') {
      span.rename(`${method} ${route}`)
      span.set({ 'http.route': route })
    }
    span.set({ 'http.response.status_code': context.status })
    if (context.status >= 500) span.fail(String(context.status))
  })
}
