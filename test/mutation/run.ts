/**
 * Mutation testing: `npm run mutation [target …]`. Stryker changes one thing in the code at a time (a comparison, a
 * condition, a sum, a returned value) and runs the tests that should notice. What no test notices is printed.
 * It takes long, so `npm test` does not do it.
 */
import { join } from 'node:path'
import { Stryker } from '@stryker-mutator/core'

interface Target {
  mutate: string[]
  /** The tests that should notice. */
  tests: string[]
}

const targets: Record<string, Target> = {
  entitlements: {
    // What is left out is the shape of an answer, and holds no rule.
    mutate: ['common/entitlements/*.ts', '!common/entitlements/explanation.ts'],
    tests: ['test/unit/decide.test.ts', 'test/unit/derive.test.ts', 'test/unit/entitlements.test.ts', 'test/unit/staleness-policy.test.ts'],
  },
  payments: {
    mutate: ['control-plane/payments/machine/*.ts'],
    tests: ['test/unit/payment-machine.test.ts', 'test/matrix/known-declines.test.ts', 'test/simulation/*.test.ts'],
  },
  subscriptions: {
    mutate: ['control-plane/subscriptions/machine/*.ts'],
    tests: ['test/unit/billing-periods.test.ts', 'test/simulation/*.test.ts'],
  },
}

const root = join(import.meta.dirname, '../..')
process.chdir(root)

const chosen = process.argv.slice(2)
for (const name of chosen.length > 0 ? chosen : Object.keys(targets)) {
  const target = targets[name]
  if (!target) throw new TypeError(`there is no target ${name}: choose of ${Object.keys(targets).join(', ')}`)
  await new Stryker({
    mutate: target.mutate,
    testRunner: 'command',
    commandRunner: { command: `"${process.execPath}" node_modules/ava/entrypoints/cli.js --fail-fast ${target.tests.join(' ')}` },
    // Two cores are what CI has.
    concurrency: 2,
    // Stryker reads it with the compiler's JavaScript API, which TypeScript 7 has not.
    tsconfigFile: 'none',
    // What hangs is killed too, and a machine that is busy is no reason to say that it hangs.
    timeoutMS: 60_000,
    tempDirName: '.cache/stryker',
    ignorePatterns: ['.cache', 'data'],
    reporters: ['clear-text', 'html', 'progress-append-only'],
    clearTextReporter: { reportTests: false },
    htmlReporter: { fileName: `.cache/mutation/${name}.html` },
    thresholds: { high: 95, low: 85, break: 85 },
  }).runMutationTest()
}
