import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync } from 'node:fs'
import { glob } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'

const root = fileURLToPath(new URL('../..', import.meta.url))

test('the generated code matches the protocol', async (t) => {
  const fresh = mkdtempSync(join(tmpdir(), 'tollgate-proto-'))
  execFileSync(join(root, 'node_modules/.bin/buf'), ['generate', '--output', fresh], {
    cwd: root,
    env: { ...process.env, PATH: `${join(root, 'node_modules/.bin')}:${process.env.PATH}` },
  })
  const files: string[] = []
  for await (const file of glob('proto/gen/**/*.ts', { cwd: fresh })) files.push(file)
  t.true(files.length >= 3)
  for (const file of files) t.is(readFileSync(join(root, file), 'utf8'), readFileSync(join(fresh, file), 'utf8'), `${file}: run npm run proto:generate`)
})

test('reflection tells what the protocol says', (t) => {
  const fresh = mkdtempSync(join(tmpdir(), 'tollgate-proto-'))
  const build = (name: string, ...of: string[]) => {
    execFileSync(join(root, 'node_modules/.bin/buf'), ['build', ...of, '--as-file-descriptor-set', '--exclude-source-info', '-o', join(fresh, name)], {
      cwd: root,
    })
    t.deepEqual(readFileSync(join(root, 'proto/gen', name)), readFileSync(join(fresh, name)), `${name}: run npm run proto:generate`)
  }
  build('entitlement.binpb', '--path', 'proto/entitlement', '--path', 'proto/flagd')
  build('health.binpb', 'node_modules/grpc-health-check/proto')
})
