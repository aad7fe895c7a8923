/**
 * `npm run api:examples` writes `control-plane/http/examples.json`: for each operation a request and its answer, as a
 * running Tollgate took and gave them. Secrets are masked; ids and times are those of the run.
 */
import { writeFileSync } from 'node:fs'
import { runCommand } from '../../common/process.ts'
import { operationId } from '../../control-plane/http/operation-id.ts'
import { routes } from '../../control-plane/http/routes/index.ts'
import { openEverything } from '../support/every-route.ts'
import { httpClient } from '../support/http-client.ts'
import { openShop } from '../support/shop.ts'
import { embedded } from '../support/tollgate.ts'

const file = new URL('../../control-plane/http/examples.json', import.meta.url)
const SECRET_FIELDS = ['secret', 'apiKey', 'invitation', 'csrfToken', 'password', 'totp', 'code']

const masked = (value: unknown, field = ''): unknown => {
  // The machine that records is nobody's business.
  if (field === 'host') return 'app-1'
  if (typeof value === 'string') return SECRET_FIELDS.includes(field) ? '…' : value
  if (Array.isArray(value)) return value.slice(0, 2).map((one) => masked(one))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, masked(one, name)]))
}

/** Reading first, then what changes something, and what removes it last. */
const turn = (at: string): number => ['get', 'post', 'patch', 'put', 'delete'].findIndex((method) => at.startsWith(method))

await runCommand(async () => {
  const tollgate = await embedded.start()
  try {
    const check = { is: (a: unknown, b: unknown, why?: string) => a === b || process.stderr.write(`${String(why)}\n`) }
    const shop = await openShop(check as never, tollgate)
    const requests = await openEverything(shop)
    const examples: Record<string, { request?: unknown; answer?: unknown }> = {}
    for (const [at, { path, body, headers, status }] of Object.entries(requests).toSorted(([a], [b]) => turn(a) - turn(b))) {
      const route = routes.find((one) => `${one.method} ${one.path}` === at)
      if (!route || status !== undefined) continue
      const key = headers?.authorization?.replace('Bearer ', '') ?? shop.apiKey
      const answer = await httpClient(tollgate.http, { key }).call(route.method.toUpperCase(), path, body, headers)
      if (answer.status !== route.status) continue
      examples[operationId(route.method, route.path)] = {
        ...(route.body && body !== undefined ? { request: masked(body) } : {}),
        ...(route.answer ? { answer: masked(answer.body) } : {}),
      }
    }
    writeFileSync(file, `${JSON.stringify(examples, undefined, 1)}\n`)
  } finally {
    await tollgate.close()
  }
})
