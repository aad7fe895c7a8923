/** `app.get('/reports', gate(tollgate, { entitlement: 'reports', customer: (request) => request.user?.id }), …)` */
import type { Request, RequestHandler } from 'express'
import { type Asked, type GateOptions, judge, PROBLEM_TYPE } from './gate.ts'

export type { GateOptions, Problem } from './gate.ts'

/** Express 5 middleware that lets pass who has the entitlement, and answers the others with a problem of RFC 9457. */
export const gate =
  (tollgate: Asked, options: GateOptions<Request>): RequestHandler =>
  // Express 5 hands what this rejects with to the application's error handler.
  async (request, response, next) => {
    const { headers, problem } = await judge(tollgate, options, request)
    response.set(headers)
    if (problem) response.status(problem.status).type(PROBLEM_TYPE).send(JSON.stringify(problem))
    else next()
  }
