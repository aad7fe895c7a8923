/**
 * Stripe's own mock server (https://github.com/stripe/stripe-mock), which checks requests against Stripe's published
 * OpenAPI description. It is looked for in STRIPE_MOCK, on the PATH and in the cache; `.ci/run` installs it:
 * `go install github.com/stripe/stripe-mock@v0.203.0`.
 */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { spawnOwned } from '../child-processes.ts'
import { eventually } from '../eventually.ts'
import { freePort } from '../free-port.ts'

const candidates = [process.env.STRIPE_MOCK ?? '', join(homedir(), '.cache/tollgate/stripe-mock')]
const onPath = spawnSync('stripe-mock', ['-version'], { stdio: 'ignore' }).error === undefined
const binary = candidates.find((path) => path !== '' && existsSync(path)) ?? (onPath ? 'stripe-mock' : undefined)

/** Why it cannot be had here. */
export const stripeMockMissing: string | undefined = binary === undefined ? 'stripe-mock is neither on the PATH nor named by STRIPE_MOCK' : undefined

export const startStripeMock = async (): Promise<{ url: string; stop(): void }> => {
  const port = await freePort()
  const child = spawnOwned(binary ?? 'stripe-mock', ['-http-port', String(port), '-https-port', String(await freePort())], { stdio: 'ignore' })
  const url = `http://127.0.0.1:${port}`
  await eventually(async () => (await fetch(url).catch(() => undefined)) !== undefined)
  return { url, stop: () => child.kill('SIGKILL') }
}
