/** Programs that tests use where they are there: named by a variable, in the cache, or on the PATH. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

export const findTool = (name: string, variable: string, versionOption: string): string | undefined => {
  const candidates = [process.env[variable] ?? '', join(homedir(), '.cache/tollgate', name)]
  const found = candidates.find((path) => path !== '' && existsSync(path))
  if (found) return found
  return spawnSync(name, [versionOption], { stdio: 'ignore' }).error === undefined ? name : undefined
}
