/** `npm run check:api` fails on what breaks clients of the released API, or receivers of its events; `npm run api:release` makes the present one the released. */
import { readFileSync, writeFileSync } from 'node:fs'
import { runCommand } from '../../common/process.ts'
import { asyncApiDocument } from '../../control-plane/http/asyncapi.ts'
import { openApiDocument } from '../../control-plane/http/openapi.ts'
import { routes } from '../../control-plane/http/routes/index.ts'
import { breakingChanges } from './breaking-changes.ts'
import { eventsAsAnswers } from './events-as-answers.ts'

const documents = [
  { file: 'openapi.released.json', present: openApiDocument(routes, false), comparable: (document: object) => document },
  { file: 'asyncapi.released.json', present: asyncApiDocument(false), comparable: eventsAsAnswers as (document: object) => object },
]

await runCommand(async () => {
  for (const { file, present: made, comparable } of documents) {
    const released = new URL(`../../control-plane/http/${file}`, import.meta.url)
    const present = JSON.stringify(made, undefined, 1)
    if (process.argv[2] === 'release') {
      writeFileSync(released, `${present}\n`)
      continue
    }
    const changes = breakingChanges(comparable(JSON.parse(readFileSync(released, 'utf8'))), comparable(JSON.parse(present)))
    for (const change of changes) process.stderr.write(`breaks clients: ${change}\n`)
    if (changes.length > 0) process.exitCode = 1
  }
})
