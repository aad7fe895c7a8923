/** What a gate does with each answer, whatever the framework. */
import test from 'ava'
import { type GateOptions, judge } from '../../client/gate.ts'
import { type Tollgate, TollgateError } from '../../client/index.ts'
import { createFakeTollgate } from '../../client/testing.ts'

interface Request {
  user?: string
  count?: number
}

const now = new Date('2024-03-15T12:00:00Z')
const yesterday = new Date('2024-03-14T12:00:00Z')
const fake = () =>
  createFakeTollgate({
    now: () => now,
    grants: {
      anna: {
        reports: true,
        off: false,
        gold: 'yes',
        calls: { limit: 100, per: 'day', used: 93 },
        spent: { limit: 5, per: 'month', used: 5 },
        seats: { limit: 2, used: 2 },
        unlimited: { limit: null, per: 'day', used: 7 },
        over: { enabled: true, until: yesterday },
        unpaid: { enabled: true, inactive: true },
        'cal"ls\\': { limit: 1e15, per: 'day' },
        größe: { limit: 1, per: 'day' },
      },
    },
  })
const judged = (
  entitlement: string,
  more: Partial<GateOptions<Request>> = {},
  request: Request = { user: 'anna' },
  tollgate: Pick<Tollgate, 'check' | 'consume'> = fake(),
) => judge(tollgate, { entitlement, customer: ({ user }) => user, ...more }, request)

test('who has it passes; a quota says what is left of it and when it starts again', async (t) => {
  t.deepEqual(await judged('reports'), { headers: {}, problem: undefined })
  t.deepEqual(await judged('gold'), { headers: {}, problem: undefined })
  t.deepEqual((await judged('calls')).headers, { 'RateLimit-Policy': '"calls";q=100', RateLimit: '"calls";r=7;t=43200' })
  t.deepEqual((await judged('unlimited')).headers, {})
  t.deepEqual((await judged('cal"ls\\')).headers, {
    'RateLimit-Policy': '"cal\\"ls\\\\";q=999999999999999',
    RateLimit: '"cal\\"ls\\\\";r=999999999999999;t=43200',
  })
  t.deepEqual((await judged('größe')).headers, {}, 'no string of a structured field')
})

test('who would have it by buying or paying is told so with 402, and why', async (t) => {
  const because: [entitlement: string, reason: string][] = [
    ['none', 'not_granted'],
    ['off', 'disabled'],
    ['over', 'expired'],
    ['unpaid', 'subscription_inactive'],
    ['seats', 'limit_exceeded'],
  ]
  for (const [entitlement, reason] of because) {
    const { headers, problem } = await judged(entitlement)
    t.like(problem, { type: `urn:tollgate:denied:${reason}`, title: reason.replaceAll('_', ' '), status: 402, entitlement, reason })
    t.false('resetsAt' in (problem ?? {}))
    t.deepEqual(headers, {})
  }
  t.like((await judged('reports', {}, { user: 'nobody' })).problem, { status: 402, reason: 'customer_unknown' })
  const { headers, problem } = await judged('spent')
  t.like(problem, { status: 402, reason: 'limit_exceeded', resetsAt: '2024-04-01T00:00:00.000Z' })
  t.deepEqual(headers, { 'RateLimit-Policy': '"spent";q=5', RateLimit: `"spent";r=0;t=${16.5 * 86_400}` })
})

test('what is asked about follows from the request', async (t) => {
  const options: Partial<GateOptions<Request>> = { entitlement: ({ count }) => (count === undefined ? 'reports' : 'calls'), amount: ({ count }) => count ?? 1 }
  t.is((await judged('', options, { user: 'anna', count: 7 })).problem, undefined)
  t.like((await judged('', options, { user: 'anna', count: 8 })).problem, { reason: 'limit_exceeded', resetsAt: '2024-03-16T00:00:00.000Z' })
  t.is((await judged('reports', { customer: async ({ user }) => user })).problem, undefined)
  t.like((await judged('reports', {}, {})).problem, { status: 401, reason: 'no_customer' })
  t.is((await judged('calls', { amount: 7 })).problem, undefined)
})

test('what nobody can say is refused with 503, or passes, as the gate has it or the client', async (t) => {
  const tollgate = fake()
  tollgate.fail('unavailable')
  t.like(await judged('calls', {}, { user: 'anna' }, tollgate), {
    headers: { 'Retry-After': '1' },
    problem: { status: 503, reason: 'unknown', type: 'urn:tollgate:denied:unknown', entitlement: 'calls' },
  })
  t.is((await judged('calls', { whenUnknown: 'allow' }, { user: 'anna' }, tollgate)).problem, undefined)
  for (const onUnknown of ['allow', 'deny'] as const) {
    const decides = createFakeTollgate({ onUnknown })
    decides.fail('timed_out')
    t.is((await judged('calls', {}, { user: 'anna' }, decides)).problem?.status, onUnknown === 'allow' ? undefined : 503)
  }
  // Nobody who calls the route can mend it.
  for (const code of ['unauthenticated', 'forbidden', 'invalid_request', 'unsupported', 'closed'] as const) {
    tollgate.fail(code)
    t.like(await t.throwsAsync(judged('calls', { whenUnknown: 'allow' }, { user: 'anna' }, tollgate), { instanceOf: TollgateError }), { code })
  }
})

test('a denial that buying does not change is 403', async (t) => {
  const basis = { revision: 1, asOf: now, ageMs: 0, stale: true, from: 'sidecar', allowed: false } as const
  for (const reason of ['fallback', 'other'] as const)
    t.like((await judged('reports', {}, { user: 'anna' }, { ...fake(), check: async () => ({ ...basis, reason }) })).problem, { status: 403, reason })
})

test('a gate that consumes counts who passes, and nobody else', async (t) => {
  const tollgate = fake()
  const passes = async (options: Partial<GateOptions<Request>>, request?: Request) => judged('calls', options, request, tollgate)
  t.is((await passes({ consume: 5 })).headers.RateLimit, '"calls";r=2;t=43200')
  t.like(await passes({ consume: 3 }), { headers: { RateLimit: '"calls";r=2;t=43200' }, problem: { status: 402, reason: 'limit_exceeded' } })
  const byRequest: Partial<GateOptions<Request>> = { consume: ({ count }) => count ?? 0 }
  t.is((await passes(byRequest, { user: 'anna', count: 1 })).headers.RateLimit, '"calls";r=1;t=43200')
  t.is((await passes(byRequest)).headers.RateLimit, '"calls";r=1;t=43200', 'nothing is counted')
  t.is((await passes({ consume: 1 }, {})).problem?.status, 401)
  t.is((await passes({ consume: 1 })).headers.RateLimit, '"calls";r=0;t=43200')
  t.is((await passes({ consume: 1 })).problem?.resetsAt, '2024-03-16T00:00:00.000Z')
  t.like(await t.throwsAsync(judged('reports', { consume: 1 }), { instanceOf: TollgateError }), { code: 'invalid_request' })
  tollgate.fail('unavailable')
  t.is((await passes({ consume: 1 })).problem?.status, 503)
  t.is((await passes({ consume: 1, whenUnknown: 'allow' })).problem, undefined)
})
