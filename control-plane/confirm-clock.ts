/** `npm run clock:confirm`: says that this machine's time is right, however long ago a control plane was last seen. */
import { systemClock } from '../common/clock.ts'
import { readConfig } from '../common/config.ts'
import { createLog } from '../common/log.ts'
import { runCommand } from '../common/process.ts'
import { openStorage } from './compose.ts'
import { confirmClock } from './worker/clock-guard.ts'

await runCommand(async () => {
  const config = readConfig()
  const storage = await openStorage(config, systemClock, createLog(config.LOG_LEVEL))
  const at = await confirmClock({ storage, clock: systemClock })
  await storage.close()
  process.stdout.write(`confirmed: it is ${at.toISOString()}; work that is due by then runs within seconds\n`)
})
