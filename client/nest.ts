/** `@UseGuards(gate(tollgate, { entitlement: 'reports', customer: (request) => request.user?.id }))` */
import { type CanActivate, type ExecutionContext, HttpException } from '@nestjs/common'
import { type Asked, type GateOptions, judge, PROBLEM_TYPE } from './gate.ts'

export type { GateOptions, Problem } from './gate.ts'

/** Express's response and Fastify's reply have it both. */
interface WithHeaders {
  header(name: string, value: string): unknown
}

/**
 * A NestJS guard of HTTP routes that lets pass who has the entitlement, and throws an HttpException with a problem of RFC 9457
 * for the others.
 */
export const gate = <Request extends object = { headers: Record<string, string | string[] | undefined>; user?: { id?: string } }>(
  tollgate: Asked,
  options: GateOptions<Request>,
): CanActivate => ({
  canActivate: async (context: ExecutionContext): Promise<boolean> => {
    const http = context.switchToHttp()
    const { headers, problem } = await judge(tollgate, options, http.getRequest<Request>())
    const response = http.getResponse<WithHeaders>()
    for (const [name, value] of Object.entries(headers)) response.header(name, value)
    if (!problem) return true
    response.header('content-type', PROBLEM_TYPE)
    throw new HttpException(problem, problem.status)
  },
})
