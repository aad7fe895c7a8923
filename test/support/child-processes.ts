/**
 * Processes that tests start. Whatever becomes of a test, none outlives the file that it is in: one that did would keep
 * the runner waiting for good, and with it the report of what had failed.
 */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'

const running = new Set<ChildProcess>()

export const spawnOwned = (command: string, args: string[], options: SpawnOptions): ChildProcess => {
  const child = spawn(command, args, options)
  running.add(child)
  const forget = () => running.delete(child)
  child.once('exit', forget).once('error', forget)
  return child
}

/** SIGKILL to every one that still runs. */
export const endAll = (): void => {
  for (const child of running) child.kill('SIGKILL')
}

process.once('exit', endAll)
