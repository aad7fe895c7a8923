/** Storage on SQLite is copied while it is in use, and put back when nothing runs, also after a crash. */
import { execFile } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import test from 'ava'
import { httpClient } from '../support/http-client.ts'
import { openShop } from '../support/shop.ts'
import { embedded } from '../support/tollgate.ts'

test('a restore brings back what was copied, also if the process was killed', async (t) => {
  t.timeout(120_000)
  const tollgate = await embedded.start()
  t.teardown(tollgate.close)
  const dataDir = tollgate.env.DATA_DIR ?? ''
  const run = async (...args: string[]) => {
    const options = { env: { ...process.env, MONGODB_URL: '', DATA_DIR: dataDir } }
    return promisify(execFile)(process.execPath, ['control-plane/backup.ts', ...args], options).then(
      ({ stdout }) => stdout,
      ({ stderr }: { stderr: string }) => `refused: ${stderr}`,
    )
  }
  const copy = join(dataDir, 'copy.sqlite')
  const shop = await openShop(t, tollgate)
  await shop.subscribe('before')
  t.regex(await run('backup', copy), /was copied/)
  t.regex(await run('backup', copy), /refused: .*already exists/)
  await shop.subscribe('after')
  t.regex(await run('restore', copy), /refused: .*in use/)
  const text = join(dataDir, 'text')
  writeFileSync(text, 'no database at all, but long enough to be looked at')
  t.regex(await run('restore', text), /refused: .*cannot be read as a database/)
  t.regex(await run('restore', join(dataDir, 'nothing')), /refused: there is no file/)

  await tollgate.controlPlane.stop('SIGKILL')
  t.true(existsSync(join(dataDir, 'tollgate.sqlite-wal')), 'what a crash leaves beside the file')
  t.regex(await run('restore', copy), /was restored from/)
  await tollgate.restartControlPlane()
  const api = httpClient(tollgate.http, { key: shop.apiKey })
  t.is((await api.get('/storefronts/us-store/customers/before')).status, 200)
  t.is((await api.get('/storefronts/us-store/customers/after')).status, 404)
  t.is((await shop.subscribe('again')).status, 201)
  await tollgate.controlPlane.stop()
  t.regex(await run('restore', copy), /refused: .*before-restore already exists/)
})
