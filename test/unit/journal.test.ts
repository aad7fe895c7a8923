import { execFileSync } from 'node:child_process'
import { appendFileSync, copyFileSync, existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { createLog } from '../../common/log.ts'
import { type JournalEntry, openJournal } from '../../sidecar/metering/journal.ts'

const log = createLog('silent')
const fileOf = (t: ExecutionContext): string => {
  const dir = mkdtempSync(join(tmpdir(), 'tollgate-journal-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  return join(dir, 'journal')
}
const entry = (customerId: string, change: Partial<JournalEntry> = {}): JournalEntry => ({
  customer: { tenantId: 't', storefrontId: 's', customerId },
  entitlement: 'calls',
  sandbox: false,
  leases: [{ id: 'l', spent: 3, untilMs: 1_000.5 }],
  reservations: [],
  laterUses: [],
  ...change,
})

test('the next process finds what was kept last, under the same name and with higher numbers', (t) => {
  const path = fileOf(t)
  const first = openJournal(path, log)
  const seqs = Array.from({ length: 25_000 }, () => first.nextSeq())
  first.keep(entry('a'))
  const whole = entry('a', {
    leases: [{ id: 'l', spent: 7, untilMs: 1_000.5 }],
    reservations: [{ id: 'r', parts: [{ lease: 'l', units: 2 }], expiresAtMs: 5_000.25, amount: 2 }],
    laterUses: [{ seq: 4, amount: 1, atMs: 900.75 }],
  })
  first.keep(whole)
  first.keep(entry('b'))
  first.keep(entry('b', { leases: [] }))
  const second = openJournal(path, log)
  t.is(second.sidecar, first.sidecar)
  t.deepEqual(second.found, [whole], 'what is finished is not there any more')
  t.true(second.nextSeq() > Math.max(...seqs))
  t.deepEqual(openJournal(path, log).found, [whole], 'nothing is lost by opening')
})

test('a last record that is torn is not there, and what comes after it is', (t) => {
  const path = fileOf(t)
  openJournal(path, log).keep(entry('a'))
  appendFileSync(path, '{"of":["t","s","b","calls"],"sandbox":fal')
  const next = openJournal(path, log)
  t.deepEqual(next.found, [entry('a')])
  next.keep(entry('b'))
  t.deepEqual(openJournal(path, log).found, [entry('a'), entry('b')])
})

test('a file that is no journal is begun anew', (t) => {
  const path = fileOf(t)
  for (const text of ['', 'nothing', '{"v":99,"sidecar":"x","boot":""}\n', '\n\n', '[]\n{"of":1}\n']) {
    writeFileSync(path, text)
    const journal = openJournal(path, log)
    t.deepEqual(journal.found, [], text)
    journal.keep(entry('a'))
    t.deepEqual(openJournal(path, log).found, [entry('a')], text)
  }
})

test('after a start of the machine leases count as spent, and what has still to be told is told', (t) => {
  const path = fileOf(t)
  const first = openJournal(path, log)
  const used = first.nextSeq()
  first.keep(entry('a', { laterUses: [{ seq: 1, amount: 5, atMs: 0 }] }))
  first.keep(entry('b'))
  writeFileSync(path, readFileSync(path, 'utf8').replace(/"boot":"[^"]*"/, '"boot":"another"'))
  const next = openJournal(path, log)
  t.deepEqual(next.found, [entry('a', { leases: [], laterUses: [{ seq: 1, amount: 5, atMs: 0 }] })])
  t.true(next.nextSeq() > used + 1_000_000)
})

test('two processes do not share one: the first notices that the second has taken it over', (t) => {
  const path = fileOf(t)
  const first = openJournal(path, log)
  first.keep(entry('a'))
  const second = openJournal(path, log)
  t.throws(() => first.keep(entry('a')), { message: /another process has taken over the journal/ })
  t.notThrows(() => second.keep(entry('a')))
  renameSync(path, `${path}.moved`)
  t.throws(() => second.keep(entry('a')), { message: /another process/ })
})

test('it is written anew when most of it is of no use any more', (t) => {
  const path = fileOf(t)
  const journal = openJournal(path, log)
  for (let n = 0; n < 60_000; n += 1) journal.keep(entry('a', { leases: [{ id: 'l', spent: n, untilMs: 1 }] }))
  const before = readFileSync(path).length
  journal.compact(() => [entry('a')])
  t.true(readFileSync(path).length < before / 100)
  journal.keep(entry('b'))
  t.deepEqual(openJournal(path, log).found, [entry('a'), entry('b')])
  t.false(existsSync(`${path}.new`))
})

test('the numbers go on where an older copy of the journal is put back', (t) => {
  const path = fileOf(t)
  const copy = `${path}.copy`
  openJournal(path, log)
  copyFileSync(path, copy)
  const first = openJournal(path, log)
  const seqs = Array.from({ length: 25_000 }, () => first.nextSeq())
  renameSync(copy, path)
  const before = Date.now()
  while (Date.now() < before + 30);
  t.true(openJournal(path, log).nextSeq() > Math.max(...seqs))
})

test('a disk that takes a part of a record leaves no journal that says less than was spent', (t) => {
  const path = fileOf(t)
  const url = (file: string) => new URL(`../../${file}`, import.meta.url).href
  const script = `
    import { statSync } from 'node:fs'
    import { createLog } from '${url('common/log.ts')}'
    import { openJournal } from '${url('sidecar/metering/journal.ts')}'
    const journal = openJournal('${path}', createLog('silent'))
    const customer = { tenantId: 't', storefrontId: 's', customerId: 'c' }
    for (let spent = 1; (statSync('${path}', { throwIfNoEntry: false })?.size ?? 4096) < 4096; spent += 1)
      journal.keep({ customer, entitlement: 'calls', sandbox: false, leases: [{ id: 'l', spent, untilMs: 1 }], reservations: [], laterUses: [] })`
  // Files of this process end after four kilobytes, within a record.
  execFileSync('bash', ['-c', 'ulimit -f 4 && exec "$0" --input-type=module -e "$1"', process.execPath, script])
  t.false(existsSync(path))
})
