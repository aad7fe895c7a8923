/**
 * Mutation testing: `npm run mutation -- [target or file …]`. Stryker changes one thing in the code at a time (a comparison, a
 * condition, a sum, a returned value) and runs the tests that should notice. What no test notices is printed.
 * It takes long, so `npm test` does not do it.
 */
import { basename, join, matchesGlob } from 'node:path'
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
    tests: [
      'test/unit/decide.test.ts',
      'test/unit/derive.test.ts',
      'test/unit/entitlements.test.ts',
      'test/unit/feed-wire.test.ts',
      'test/unit/staleness-policy.test.ts',
    ],
  },
  payments: {
    mutate: ['control-plane/payments/machine/*.ts'],
    tests: [
      'test/unit/payment-attempts.test.ts',
      'test/unit/payment-money-back.test.ts',
      'test/unit/next-attempt.test.ts',
      'test/unit/payment-machine.test.ts',
      'test/unit/attempt-states.test.ts',
    ],
  },
  subscriptions: {
    mutate: ['control-plane/subscriptions/machine/*.ts'],
    tests: [
      'test/unit/subscription-machine.test.ts',
      'test/unit/subscription-changes.test.ts',
      'test/unit/subscription-money.test.ts',
      'test/unit/subscription-states.test.ts',
      'test/unit/billing-periods.test.ts',
      'test/simulation/simulation.test.ts',
    ],
  },
}

/** @param name a target's, or the path of one file that a target mutates. */
const targetOf = (name: string): Target | undefined => {
  const whole = Object.values(targets).find(({ mutate }) => mutate.some((pattern) => matchesGlob(name, pattern)))
  return targets[name] ?? (whole && { ...whole, mutate: [name] })
}

const root = join(import.meta.dirname, '../..')
process.chdir(root)
// The same few lives for each mutant: enough to notice most of them, and a survivor costs seconds.
process.env.SIMULATION_SEQUENCES ??= '100'
process.env.SIMULATION_SEED ??= '7'

const chosen = process.argv.slice(2)
for (const name of chosen.length > 0 ? chosen : Object.keys(targets)) {
  const target = targetOf(name)
  if (!target) throw new TypeError(`there is no target ${name}: choose ${Object.keys(targets).join(', ')}, or a file of one of them`)
  await new Stryker({
    mutate: target.mutate,
    testRunner: 'command',
    commandRunner: { command: `"${process.execPath}" node_modules/ava/entrypoints/cli.js --fail-fast ${target.tests.join(' ')}` },
    // Two cores are what CI has; MUTATION_CONCURRENCY=1 leaves one of them to others.
    concurrency: Number(process.env.MUTATION_CONCURRENCY ?? 2),
    // Stryker reads it with the compiler's JavaScript API, which TypeScript 7 has not.
    tsconfigFile: 'none',
    // What hangs is killed too, and a machine that is busy is no reason to say that it hangs.
    timeoutMS: 60_000,
    tempDirName: '.cache/stryker',
    ignorePatterns: ['.cache', 'data'],
    reporters: ['clear-text', 'html', 'progress-append-only'],
    clearTextReporter: { reportTests: false },
    htmlReporter: { fileName: `.cache/mutation/${basename(name, '.ts')}.html` },
    thresholds: { high: 95, low: 85, break: 85 },
  }).runMutationTest()
}
