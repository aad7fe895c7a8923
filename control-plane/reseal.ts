/**
 * `npm run reseal`: seals the secrets of every PSP account with the first key of CREDENTIALS_KEY, whether they were stored as
 * they are or under another key. It may be run while control planes serve, and again after it was cut off.
 */
import { systemClock } from '../common/clock.ts'
import { ConfigError, readConfig } from '../common/config.ts'
import { createLog } from '../common/log.ts'
import { runCommand } from '../common/process.ts'
import { createSealing, sealedWith } from './access/sealing.ts'
import { openStorage } from './compose.ts'
import type { PspAccount } from './schemas/psp-account.ts'
import { every } from './storage/every.ts'
import { update } from './storage/update.ts'

const say = (line: string) => process.stdout.write(`${line}\n`)

const run = async () => {
  const config = readConfig()
  if (!config.CREDENTIALS_KEY) throw new ConfigError('CREDENTIALS_KEY must be set: its first key is what secrets are sealed with.')
  const sealing = createSealing(config.CREDENTIALS_KEY)
  const storage = await openStorage(config, systemClock, createLog(config.LOG_LEVEL))
  const before = new Map<string, number>()
  let [sealed, lost] = [0, 0]
  const anew = (account: PspAccount, field: 'credentials' | 'webhookSecret'): string | undefined => {
    const stored = account[field]
    return stored ? sealing.seal(sealing.open(stored, account._id), account._id) : undefined
  }
  try {
    for await (const { tenantId } of every(storage.tenants, {}))
      for await (const account of every(storage.pspAccounts, { tenantId })) {
        const held = [account.credentials, account.webhookSecret].filter((one) => typeof one === 'string')
        for (const one of held) before.set(sealedWith(one), (before.get(sealedWith(one)) ?? 0) + 1)
        if (held.every((one) => sealedWith(one) === sealing.keyId)) continue
        try {
          await update(storage.pspAccounts, account._id, (latest) => {
            const [credentials, webhookSecret] = [anew(latest, 'credentials'), anew(latest, 'webhookSecret')]
            return { ...latest, ...(credentials ? { credentials } : {}), ...(webhookSecret ? { webhookSecret } : {}) }
          })
          sealed += 1
        } catch (error) {
          lost += 1
          say(`${tenantId}: ${account.id} cannot be opened: ${error instanceof Error ? error.message : String(error)}`)
        }
      }
  } finally {
    await storage.close()
  }
  for (const [key, count] of before) say(`${count} secrets were ${key === 'plain' ? 'stored as they are' : `sealed with key ${key}`}`)
  say(`${sealed} accounts were sealed anew; all but ${lost} are on key ${sealing.keyId}`)
  if (lost > 0) throw new Error('Add the keys that these were sealed with to CREDENTIALS_KEY, after the first and separated by commas, and run this again.')
}

await runCommand(run)
