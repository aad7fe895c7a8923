/** The worker of a control plane in a process of its own. Run by itself it is that process. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { startWorker } from '../../control-plane/worker/worker.ts'
import { openStorageOf } from '../../test/support/due-subscriptions.ts'
import { createBenchServices } from './services.ts'

const POLL_MS = 20

/** @param env where storage is. @returns what ends it, and answers the most memory that it had, in MiB. */
export const startWorkerProcess = async (env: Record<string, string>, latencyMs: number): Promise<() => Promise<number>> => {
  const child = fork(import.meta.filename, [String(latencyMs)], { env: { ...process.env, ...env } })
  await once(child, 'message')
  return async () => {
    child.kill('SIGTERM')
    const [mib] = await once(child, 'message')
    return mib as number
  }
}

if (process.argv[1] === import.meta.filename) {
  const { MONGODB_URL, DATA_DIR = '' } = process.env
  const storage = await openStorageOf(MONGODB_URL ? { MONGODB_URL } : { DATA_DIR })
  const worker = startWorker(createBenchServices(storage, Number(process.argv[2])), { pollMs: POLL_MS })
  process.once('SIGTERM', async () => {
    await worker.stop()
    await storage.close()
    process.send?.(process.resourceUsage().maxRSS / 1024, () => process.exit(0))
  })
  process.send?.('ready')
}
