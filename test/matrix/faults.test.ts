/** The fault matrix, as a test: `npm run matrix:faults` prints it. */
import test from 'ava'
import { providerNames } from '../support/psp/index.ts'
import { columns, runProvider } from './fault-matrix.ts'

for (const provider of providerNames) {
  test.serial(`${provider}: whatever goes wrong, its ledger and ours agree, and nobody is charged twice`, async (t) => {
    const cells = await runProvider(provider)
    t.is(cells.length, columns.length)
    t.deepEqual(
      cells.filter(({ wrong }) => wrong.length > 0),
      [],
    )
    // A fault that is not met proves nothing.
    const how = Object.fromEntries(cells.map((cell) => [cell.column, cell.how]))
    t.is(how['refused connection'], 'answer, elsewhere')
    t.is(how['429'], 'answer, elsewhere')
    for (const column of ['timeout before', 'timeout after', '500 before', '500 after', 'malformed answer', 'reset after']) t.is(how[column], 'inquiry', column)
    t.is(how['late webhook only'], 'webhook')
    // Who cannot be asked by our reference is not sent the charge a second time: an operator has to look.
    t.is(how['away past its keys'], provider === 'adyen' || provider === 'paypal' ? 'operator' : 'inquiry')
  })
}
