import test from 'ava'
import { decodeSidecarStatus, encodeSidecarStatus, MAX_NAMED_TENANTS, type SidecarStatus } from '../../common/sidecar-status.ts'
import { createControlPlaneMetrics } from '../../control-plane/observe/metrics.ts'
import { createSidecarRegistry, measureSidecars } from '../../control-plane/observe/sidecars.ts'
import { bytesOf } from '../support/text.ts'

const statusOf = (id: string, change: Partial<SidecarStatus> = {}): SidecarStatus => ({
  id,
  version: '0.2.0',
  startedAt: '2024-03-15T00:00:00.000Z',
  host: 'here',
  transport: 'fast',
  threads: 1,
  ready: true,
  feed: { live: true, complete: true, reconnects: 0 },
  sets: { held: 1, behind: 0, bytes: 2, maxBytes: 3, evictions: 0 },
  lookups: { hits: 5, misses: 1 },
  quotas: { counted: 0, questions: 0, unanswered: 0 },
  connections: 2,
  faults: 0,
  ...change,
})

const open = () => {
  const clock = { ms: Date.parse('2024-03-15T12:00:00Z'), nowMs: () => clock.ms, now: () => new Date(clock.ms) }
  const registry = createSidecarRegistry(clock)
  const hear = (tenantId: string | undefined, id: string, change: Partial<SidecarStatus> = {}) =>
    registry.hear(encodeSidecarStatus(statusOf(id, change)), tenantId)
  const listed = () => registry.list().map(({ tenantId = 'all', status, isAway }) => `${status.id} of ${tenantId}${isAway ? ', away' : ''}`)
  return { clock, registry, hear, listed }
}

test('a sidecar that is not heard is away after a minute, and forgotten after an hour; one that leaves, at once', async (t) => {
  const { clock, registry, hear, listed } = open()
  const metrics = createControlPlaneMetrics()
  measureSidecars(metrics.instruments, registry)
  for (const id of ['b', 'a', 'c']) hear(undefined, id)
  t.deepEqual(listed(), ['a of all', 'b of all', 'c of all'])
  hear(undefined, 'c', { leaving: true })
  clock.ms += 59_999
  hear(undefined, 'b')
  t.deepEqual(listed(), ['a of all', 'b of all'])
  clock.ms += 1
  t.deepEqual(listed(), ['a of all, away', 'b of all'])
  const text = await metrics.text()
  t.true(text.includes('tollgate_sidecars{status="live"} 1') && text.includes('tollgate_sidecars{status="away"} 1'))
  clock.ms += 3_600_000 - 60_000
  t.deepEqual(listed(), ['b of all, away'])
})

test('a sidecar of one tenant neither replaces nor removes another with the same id, nor pushes others out', (t) => {
  const { hear, listed } = open()
  hear(undefined, 'same')
  hear('acme', 'same')
  hear('globex', 'same', { leaving: true })
  hear('acme', 'same', { leaving: true })
  hear('globex', 'fine')
  t.deepEqual(listed(), ['fine of globex', 'same of all'])
  for (let n = 0; n < 1_000; n += 1) hear('acme', `flood-${n}`)
  t.is(listed().filter((one) => one.endsWith('of acme')).length, 100)
  t.true(listed().includes('same of all') && listed().includes('fine of globex'))
})

test('a status of a later version is read as far as it is known, and anything else is ignored', (t) => {
  const { registry, listed } = open()
  const later = { ...statusOf('later'), mood: 'fine', feed: { live: true, complete: true, reconnects: 0, more: 1 } }
  registry.hear(bytesOf(JSON.stringify(later)), undefined)
  for (const text of ['', 'x', '[]', '{"id":"half"}', JSON.stringify({ ...statusOf('large'), mood: 'x'.repeat(10_000) })])
    registry.hear(bytesOf(text), undefined)
  t.deepEqual(listed(), ['later of all'])
  t.deepEqual(registry.list()[0]?.status, statusOf('later'))
})

test('the largest status that a sidecar can send is read', (t) => {
  const tenants = Array.from({ length: MAX_NAMED_TENANTS }, (_, n) => `${n}`.padEnd(64, 'ü'))
  const largest = statusOf('i'.repeat(36), { tenants, tenantCount: 5_000, host: 'h'.repeat(64) })
  t.deepEqual(decodeSidecarStatus(encodeSidecarStatus(largest)), largest)
})
