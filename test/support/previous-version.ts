/** The code of the version before this one, in a folder of its own, to run beside this one. */
import { execFile, spawnSync } from 'node:child_process'
import { mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** To be moved on with each release. */
const COMMIT = '255bc26a75435e12cc372bb6ffecf7ef9c2536ff'

const isThere = spawnSync('git', ['cat-file', '-e', `${COMMIT}^{commit}`], { cwd: root, stdio: 'ignore' }).status === 0

/** Why it cannot be had: a copy without its history, for example. */
export const previousVersionMissing = isThere ? undefined : `git has no commit ${COMMIT.slice(0, 7)}`

/** It runs with the packages of this version, which has all that it needs. */
export const checkOutPreviousVersion = async (): Promise<{ root: string; remove(): Promise<void> }> => {
  const folder = await mkdtemp(join(tmpdir(), 'tollgate-previous-'))
  const run = promisify(execFile)
  await run('sh', ['-c', `git archive ${COMMIT} | tar -x -C "$1"`, 'sh', folder], { cwd: root })
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'))
  return { root: folder, remove: () => rm(folder, { recursive: true, force: true }) }
}
