/** Requests to the HTTP API, by route: the path as the OpenAPI document has it, so that ids are in no label. */
import type { RouterContext } from '@koa/router'
import type Koa from 'koa'
import type { Instruments } from './instruments.ts'

const BUCKETS = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 10]
/** Anyone may invent others. */
const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS']

/** @returns the outermost middleware, which sees the status that is sent. */
export const measureRequests = ({ counter, histogram }: Instruments): Koa.Middleware => {
  const requests = counter('tollgate_http_requests_total', 'Requests that were answered, by the class of the status.', ['method', 'route', 'status'])
  const seconds = histogram(
    'tollgate_http_request_seconds',
    'Time from a request to its answer; to the first byte, where an answer is long.',
    ['method', 'route'],
    BUCKETS,
  )
  return async (context, next) => {
    const begun = performance.now()
    try {
      await next()
    } finally {
      const matched = (context as Partial<RouterContext>)._matchedRoute
      const route = typeof matched === 'string' ? matched.replace(/:(\w+)/g, '{$1}') : 'none'
      const method = METHODS.includes(context.method) ? context.method : 'other'
      requests.inc({ method, route, status: `${Math.floor(context.status / 100)}xx` })
      seconds.observe({ method, route }, (performance.now() - begun) / 1000)
    }
  }
}
