import { AppError } from '../../../common/errors.ts'
import type { Tenant } from '../../schemas/tenant.ts'
import { moveTestClock } from '../../work/move-test-clock.ts'
import { dateOrInstant, instant, iso, z } from '../fields.ts'
import { mustMatch } from '../precondition.ts'
import { type AnswerWith, route } from '../route.ts'

const clockAnswer = z.object({ now: instant }).openapi('TestClock')

const toAnswer = ({ testNow, revision }: Tenant): AnswerWith<z.output<typeof clockAnswer>> => {
  if (!testNow) throw new AppError('not_allowed_in_state', 'only a sandbox tenant has a test clock')
  return { body: { now: iso(testNow) }, revision }
}

export const testClockRoutes = [
  route({
    method: 'get',
    path: '/v1/test-clock',
    summary: 'Read the test clock',
    description: 'Only a sandbox tenant has a test clock.',
    access: 'tenant:read',
    storefront: 'none',
    ifMatch: 'answer',
    status: 200,
    answer: clockAnswer,
    handle: async ({ of }) => toAnswer(of.tenant),
  }),
  route({
    method: 'put',
    path: '/v1/test-clock',
    summary: 'Move the test clock forward',
    description:
      'Tollgate answers when everything that is due by then has run. If the call is cut off, repeat it: it continues where it stopped. Once there are subscriptions, the clock cannot go back.',
    access: 'test-clock:move',
    storefront: 'all',
    ifMatch: { document: 'the test clock' },
    body: z.strictObject({
      now: dateOrInstant.openapi({ description: 'A date means its first instant in UTC, since all storefronts share the clock. The latest year is 2200.' }),
    }),
    status: 200,
    answer: clockAnswer,
    handle: async ({ of, body, ifMatch, gone }) => toAnswer(await moveTestClock(of, new Date(body.now), mustMatch(ifMatch), gone())),
  }),
]
