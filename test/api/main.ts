/** `npm run check:api` fails on what breaks clients of the released API; `npm run api:release` makes the present one the released. */
import { readFileSync, writeFileSync } from 'node:fs'
import { runCommand } from '../../common/process.ts'
import { openApiDocument } from '../../control-plane/http/openapi.ts'
import { routes } from '../../control-plane/http/routes/index.ts'
import { breakingChanges } from './breaking-changes.ts'

const released = new URL('../../control-plane/http/openapi.released.json', import.meta.url)

await runCommand(async () => {
  const present = JSON.stringify(openApiDocument(routes, false), undefined, 1)
  if (process.argv[2] === 'release') {
    writeFileSync(released, `${present}\n`)
    return
  }
  const changes = breakingChanges(JSON.parse(readFileSync(released, 'utf8')), JSON.parse(present))
  for (const change of changes) process.stderr.write(`breaks clients: ${change}\n`)
  if (changes.length > 0) process.exitCode = 1
})
