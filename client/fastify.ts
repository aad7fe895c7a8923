/** `app.get('/reports', { preHandler: gate(tollgate, { entitlement: 'reports', customer: (request) => request.user?.id }) }, …)` */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { type Asked, type GateOptions, judge, PROBLEM_TYPE } from './gate.ts'

export type { GateOptions, Problem } from './gate.ts'

/** A Fastify hook (`preHandler`, `onRequest`) that lets pass who has the entitlement, and answers the others with a problem of RFC 9457. */
export const gate =
  (tollgate: Asked, options: GateOptions<FastifyRequest>) =>
  async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply | undefined> => {
    const { headers, problem } = await judge(tollgate, options, request)
    reply.headers(headers)
    return problem && reply.code(problem.status).type(PROBLEM_TYPE).send(JSON.stringify(problem))
  }
