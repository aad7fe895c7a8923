/** `npm run psp-simulator`: the simulator alone, for several control planes to share, or to be stopped under load. */
import { join } from 'node:path'
import { systemClock } from '../common/clock.ts'
import { ConfigError, readConfig } from '../common/config.ts'
import { createLog } from '../common/log.ts'
import { runProcess } from '../common/process.ts'
import { startTracing } from '../common/tracing.ts'
import { startPspSimulator } from './server.ts'

await runProcess(async () => {
  const config = readConfig()
  if (!config.SIMULATOR_WEBHOOK_SECRET) throw new ConfigError('SIMULATOR_WEBHOOK_SECRET must be set to the same value as at the control planes')
  const log = createLog(config.LOG_LEVEL)
  await startTracing(config, 'tollgate-psp-simulator', log)
  const simulator = await startPspSimulator({
    host: config.HOST,
    port: config.SIMULATOR_PORT,
    ledgerPath: join(config.DATA_DIR, 'psp-simulator.sqlite'),
    webhookSecret: config.SIMULATOR_WEBHOOK_SECRET,
    clock: systemClock,
    log,
  })
  return { ready: simulator.url, close: simulator.close }
})
