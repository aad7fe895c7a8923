/**
 * `npm run events:examples` writes `control-plane/http/event-examples.json`, an event of each type as a running Tollgate made it, and
 * with them `docs/event-types.md`. Ids are those of the run.
 */
import { writeFileSync } from 'node:fs'
import { runCommand } from '../../common/process.ts'
import { liveThroughEvents } from '../support/event-stories.ts'
import { embedded } from '../support/tollgate.ts'
import { eventTypesPage } from './event-types-page.ts'

await runCommand(async () => {
  const tollgate = await embedded.start({ WEBHOOK_PRIVATE_URLS: 'true' })
  try {
    const examples = await liveThroughEvents(tollgate)
    writeFileSync(new URL('../../control-plane/http/event-examples.json', import.meta.url), `${JSON.stringify(examples, undefined, 1)}\n`)
    writeFileSync(new URL('../../docs/event-types.md', import.meta.url), eventTypesPage(examples))
  } finally {
    await tollgate.close()
  }
})
