/** `app.use(gate(tollgate, { entitlement: 'reports', customer: (ctx) => ctx.state.user?.id }))` */
import type { Context, Middleware } from 'koa'
import { type Asked, type GateOptions, judge, PROBLEM_TYPE } from './gate.ts'

export type { GateOptions, Problem } from './gate.ts'

/** Koa middleware that lets pass who has the entitlement, and answers the others with a problem of RFC 9457. */
export const gate =
  (tollgate: Asked, options: GateOptions<Context>): Middleware =>
  async (context, next) => {
    const { headers, problem } = await judge(tollgate, options, context as Context)
    context.set(headers)
    if (!problem) return next()
    context.status = problem.status
    context.type = PROBLEM_TYPE
    context.body = JSON.stringify(problem)
  }
