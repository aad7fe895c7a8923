/** A change that cannot be told of is not made; one that was made is answered, whatever becomes of telling. */
import test from 'ava'
import { AppError } from '../../common/errors.ts'
import { createLog } from '../../common/log.ts'
import type { AuditEntry } from '../../control-plane/audit/entry.ts'
import { audited } from '../../control-plane/http/audited.ts'
import type { Call } from '../../control-plane/http/route.ts'
import { routes } from '../../control-plane/http/routes/index.ts'

const routeOf = (name: string) => routes.find(({ method, path }) => `${method} ${path}` === name) as (typeof routes)[number]

const call = {
  services: { clock: { now: () => new Date(0), nowMs: () => 0 }, log: createLog('silent') },
  caller: { kind: 'api_key', id: 'k', role: 'admin', permissions: new Set() },
  tenant: { tenantId: 't' },
  params: {},
  query: {},
  body: { id: 'new', currency: 'USD' },
  headers: {},
} as unknown as Call<unknown, unknown, unknown>

const asked = { requestId: 'req', from: '::1' }

const failingAt = (event: AuditEntry['event']) => ({
  append: async (_: string, entry: AuditEntry) => {
    if (entry.event === event) throw new AppError('unavailable', 'storage is away')
  },
})

test('a change that cannot be audited is not made', async (t) => {
  let done = 0
  const work = async () => {
    done += 1
    return { body: { id: 'new' } }
  }
  const making = routeOf('post /v1/storefronts')
  await t.throwsAsync(audited(failingAt('begun'), making, call, asked, work), { message: 'storage is away' })
  t.is(done, 0)
  t.deepEqual(await audited(failingAt('done'), making, call, asked, work), { body: { id: 'new' } })
  t.is(done, 1)
})
