/** A disk that is full, a file that is damaged, a folder that is taken away: 503 and not ready, a clear word at the start, nothing lost. */
import { execFileSync, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { eventually } from '../support/eventually.ts'
import { freePort } from '../support/free-port.ts'
import { httpClient } from '../support/http-client.ts'
import { startProcess } from '../support/tollgate.ts'

const PLATFORM_API_KEY = 'a-platform-key-of-the-test'

const folderOf = (t: ExecutionContext): string => {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-disk-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}
const environment = async (dataDir: string) => ({
  DATA_DIR: dataDir,
  HTTP_PORT: String(await freePort()),
  GRPC_PORT: '0',
  PLATFORM_API_KEY,
  LOG_LEVEL: 'silent',
})

/** A disk of so many MiB; undefined where none can be mounted. */
const canMount = ((): boolean => {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-mount-'))
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', folder]).status === 0
  if (mounted) spawnSync('umount', [folder])
  rmSync(folder, { recursive: true })
  return mounted
})()
const onDisk = canMount ? test : test.skip
const why = canMount ? '' : ' (no disk can be mounted here)'

onDisk(`a full disk: writes are 503 with Retry-After, reads go on, it is not ready, and goes on by itself when there is room${why}`, async (t) => {
  t.timeout(120_000)
  const folder = folderOf(t)
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', folder])
  t.teardown(() => spawnSync('umount', ['-l', folder]))
  const env = await environment(folder)
  let process = await startProcess('all-in-one/main.ts', env)
  t.teardown(() => process.stop('SIGKILL'))
  const url = process.ready.split(' ')[0] ?? ''
  const api = httpClient(url, { key: PLATFORM_API_KEY })
  const make = (id: string) =>
    fetch(`${url}/v1/tenants`, {
      method: 'POST',
      headers: { authorization: `Bearer ${PLATFORM_API_KEY}`, 'content-type': 'application/json' },
      body: JSON.stringify({ id, name: id }),
    })
  t.is((await make('before')).status, 201)
  t.true((await fetch(`${url}/readyz`)).ok)
  // Everything that is left.
  const filler = join(folder, 'filler')
  spawnSync('dd', ['if=/dev/zero', `of=${filler}`, 'bs=4k'])
  const made: string[] = ['before']
  let refused: Response | undefined
  for (let n = 0; n < 2_000 && !refused; n += 1) {
    const answer = await make(`t-${n}`)
    if (answer.status === 201) made.push(`t-${n}`)
    else refused = answer
  }
  t.is(refused?.status, 503)
  t.is(refused?.headers.get('retry-after'), '1')
  t.regex((await refused?.text()) ?? '', /its disk is full/)
  t.is((await fetch(`${url}/readyz`)).status, 503)
  t.is((await fetch(`${url}/healthz`)).status, 200)
  for (const id of made.slice(-5)) t.is((await api.get(`/tenants/${id}`)).status, 200, id)
  // Killed in the middle of it, and with room again.
  await process.stop('SIGKILL')
  rmSync(filler)
  process = await startProcess('all-in-one/main.ts', env)
  await eventually(async () => (await fetch(`${url}/readyz`)).ok)
  for (const id of made) t.is((await api.get(`/tenants/${id}`)).status, 200, `${id} was answered, so it is there`)
  t.is((await make('after')).status, 201)
})

onDisk(`a disk that is full and then is not: the same process goes on${why}`, async (t) => {
  t.timeout(120_000)
  const folder = folderOf(t)
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', folder])
  t.teardown(() => spawnSync('umount', ['-l', folder]))
  const process = await startProcess('all-in-one/main.ts', await environment(folder))
  t.teardown(() => process.stop('SIGKILL'))
  const url = process.ready.split(' ')[0] ?? ''
  const filler = join(folder, 'filler')
  const api = httpClient(url, { key: PLATFORM_API_KEY })
  spawnSync('dd', ['if=/dev/zero', `of=${filler}`, 'bs=4k'])
  await eventually(
    async () =>
      (await fetch(`${url}/readyz`)).status === 503 ||
      (await api.post('/tenants', { id: `x${Math.random().toString(36).slice(2)}`, name: 'x' })).status === 503,
  )
  rmSync(filler)
  await eventually(async () => (await fetch(`${url}/readyz`)).ok)
  t.is((await api.post('/tenants', { id: 'after', name: 'after' })).status, 201)
})

/** Why it did not start. */
const failedStart = async (env: Record<string, string>): Promise<string> => {
  const error = await startProcess('all-in-one/main.ts', env).then(
    async (process) => {
      await process.stop('SIGKILL')
      return new Error('it started')
    },
    (failed: Error) => failed,
  )
  return error.message.replace('all-in-one/main.ts ended with ', '')
}

test('a damaged file, and a folder that cannot be one: the start names the variable and the way out', async (t) => {
  const folder = folderOf(t)
  writeFileSync(join(folder, 'tollgate.sqlite'), randomBytes(8192))
  const damaged = await failedStart(await environment(folder))
  t.regex(damaged, /^1: DATA_DIR: .*tollgate\.sqlite is damaged, or is not an SQLite file\. Restore a backup/)
  writeFileSync(join(folder, 'a file'), '')
  t.regex(await failedStart(await environment(join(folder, 'a file', 'data'))), /^1: DATA_DIR: .* cannot be used: its file cannot be opened/)
})

onDisk(`a folder that may only be read: the start says so${why}`, async (t) => {
  const folder = folderOf(t)
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'ro', 'tmpfs', folder])
  t.teardown(() => spawnSync('umount', ['-l', folder]))
  t.regex(await failedStart(await environment(join(folder, 'data'))), /^1: DATA_DIR: .* cannot be used: its file, or the folder of it, cannot be written/)
})

test('a volume that is taken away: nothing is answered as written that would be gone with the process', async (t) => {
  const folder = folderOf(t)
  const process = await startProcess('all-in-one/main.ts', await environment(folder))
  t.teardown(() => process.stop('SIGKILL'))
  const url = process.ready.split(' ')[0] ?? ''
  const api = httpClient(url, { key: PLATFORM_API_KEY })
  t.is((await api.post('/tenants', { id: 'here', name: 'here' })).status, 201)
  rmSync(folder, { recursive: true })
  const answer = await api.post('/tenants', { id: 'gone', name: 'gone' })
  t.is(answer.status, 503)
  t.regex(answer.body.detail, /its file was removed or replaced/)
  t.is((await fetch(`${url}/readyz`)).status, 503)
})
