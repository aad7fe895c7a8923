/** What happens when the tests of a file are over; ava.config.js has it loaded with each. */
import { registerCompletionHandler } from 'ava'
import { endAll } from './child-processes.ts'

const EXIT_WITHIN_MS = 60_000

registerCompletionHandler(() => {
  endAll()
  const open = () => process.getActiveResourcesInfo().join(', ')
  setTimeout(() => {
    // biome-ignore lint/suspicious/noConsole: the runner says which file it was, and this says why.
    console.error(`the tests are over, and these are still open: ${open()}`)
    process.exit(1)
  }, EXIT_WITHIN_MS).unref()
})
