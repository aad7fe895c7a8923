/**
 * `npm run reseal`: seals every stored secret (of PSP accounts, webhook endpoints, authenticator apps and identity providers) with the first key of CREDENTIALS_KEY, whether they were stored as
 * they are or under another key. It may be run while control planes serve, and again after it was cut off.
 */
import { systemClock } from '../common/clock.ts'
import { ConfigError, readConfig } from '../common/config.ts'
import { createLog } from '../common/log.ts'
import { runCommand } from '../common/process.ts'
import { openStorage } from './compose.ts'
import { keys } from './keys.ts'
import { every } from './storage/every.ts'
import { createSealing, sealedWith } from './storage/sealing.ts'
import { update } from './storage/update.ts'

const say = (line: string) => process.stdout.write(`${line}\n`)

const run = async () => {
  const config = readConfig()
  if (!config.CREDENTIALS_KEY) throw new ConfigError('CREDENTIALS_KEY must be set: secrets are encrypted with its first key.')
  const sealing = createSealing(config.CREDENTIALS_KEY)
  const storage = await openStorage(config, systemClock, createLog(config.LOG_LEVEL))
  const before = new Map<string, number>()
  let [sealed, lost] = [0, 0]
  const anew = (owner: string, stored: Record<string, string | undefined>): Record<string, string> =>
    Object.fromEntries(
      Object.entries(stored)
        .filter((entry): entry is [string, string] => Boolean(entry[1]))
        .map(([field, text]) => [field, sealing.seal(sealing.open(text, owner), owner)]),
    )
  const reseal = async (what: string, stored: (string | undefined)[], write: () => Promise<unknown>): Promise<void> => {
    const held = stored.filter((one) => typeof one === 'string')
    for (const one of held) before.set(sealedWith(one), (before.get(sealedWith(one)) ?? 0) + 1)
    if (held.every((one) => sealedWith(one) === sealing.keyId)) return
    try {
      await write()
      sealed += 1
    } catch (error) {
      lost += 1
      say(`${what} cannot be decrypted: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  try {
    for await (const { tenantId } of every(storage.tenants, {})) {
      for await (const { _id, id, credentials, webhookSecret, formerSecrets } of every(storage.pspAccounts, { tenantId }))
        await reseal(`${tenantId}: ${id}`, [credentials, webhookSecret, formerSecrets?.sealed], () =>
          update(storage.pspAccounts, _id, (latest) => ({
            ...latest,
            ...anew(_id, { credentials: latest.credentials, webhookSecret: latest.webhookSecret }),
            ...(latest.formerSecrets ? { formerSecrets: { ...latest.formerSecrets, ...anew(_id, { sealed: latest.formerSecrets.sealed }) } } : {}),
          })),
        )
      for await (const { _id, id, secrets } of every(storage.webhookEndpoints, { tenantId }))
        await reseal(
          `${tenantId}: the webhook endpoint ${id}`,
          secrets.map(({ secret }) => secret),
          () =>
            update(storage.webhookEndpoints, _id, (latest) => ({
              ...latest,
              secrets: latest.secrets.map((one) => ({ ...one, ...anew(_id, { secret: one.secret }) })),
            })),
        )
      for await (const { _id, id, totp } of every(storage.users, { tenantId }))
        await reseal(`${tenantId}: the authenticator of ${id}`, [totp?.secret], () =>
          update(storage.users, _id, (latest) =>
            latest.totp ? { ...latest, totp: { ...latest.totp, ...anew(_id, { secret: latest.totp.secret }) } } : undefined,
          ),
        )
      const provider = await storage.identityProviders.find(keys.identityProvider(tenantId))
      if (provider)
        await reseal(`${tenantId}: its identity provider`, [provider.clientSecret], () =>
          update(storage.identityProviders, provider._id, (latest) => ({ ...latest, ...anew(latest._id, { clientSecret: latest.clientSecret }) })),
        )
    }
  } finally {
    await storage.close()
  }
  for (const [key, count] of before) say(`${count} secrets were ${key === 'plain' ? 'not encrypted' : `encrypted with key ${key}`}`)
  say(`${sealed} secrets were re-encrypted; ${lost === 0 ? 'all are' : `${lost} are not, and the rest are`} on key ${sealing.keyId}`)
  if (lost > 0) throw new Error('Add the keys that these were encrypted with to CREDENTIALS_KEY, after the first and separated by commas, and run this again.')
}

await runCommand(run)
