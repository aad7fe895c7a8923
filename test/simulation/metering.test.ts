/**
 * Limits that hold, whatever goes wrong between sidecars and control planes. Every run checks after each message that no more was
 * spent in a window than its highest limit, that nothing was lent beyond the limit, and at the end that every use is counted.
 * METERING_RUNS and METERING_SEED choose how many runs there are, and from which seed on.
 */
import test from 'ava'
import { type Faults, type Setting, simulateMetering } from './metering.ts'

const RUNS = Number(process.env.METERING_RUNS ?? 10_000)
const FIRST_SEED = Number(process.env.METERING_SEED ?? 1)

const calm: Faults = { lost: 0, repeated: 0, late: 0, dies: 0, crashes: 0, cutOff: 0, skewMs: 0 }

const settingOf = (seed: number): Setting => ({
  seed,
  sidecars: 1 + (seed % 12 === 0 ? 31 : seed % 8),
  limit: 50 + ((seed * 37) % 450),
  rate: 100,
  largest: 1 + (seed % 6),
  forMs: 2_000 + (seed % 3) * 1_000,
  changes: (seed % 3) * 0.2,
  windowEnds: seed % 2 === 0,
  soft: seed % 7 === 0,
  // Not in step with the clocks: what was counted later is checked only where they agree.
  reserved: 0.15 * (Math.floor(seed / 4) % 4),
  journals: 0.5 * (seed % 3),
  faults: {
    lost: 0.06 * (seed % 3),
    repeated: 0.15 * (seed % 2),
    late: 0.06 * (seed % 4),
    dies: 0.04 * (seed % 5),
    crashes: 0.2 * (seed % 3),
    cutOff: 0.2 * (seed % 2),
    skewMs: 150 * (seed % 4),
  },
})

test(`${RUNS} runs in which messages, processes and clocks fail: no limit is passed, and every use is counted`, (t) => {
  t.timeout(1_200_000)
  const sums = { allowed: 0, refused: 0, unavailable: 0, questions: 0 }
  for (let seed = FIRST_SEED; seed < FIRST_SEED + RUNS; seed += 1) {
    const { wrong, ...run } = simulateMetering(settingOf(seed))
    t.deepEqual(wrong.slice(0, 3), [], `METERING_SEED=${seed} METERING_RUNS=1`)
    for (const key of Object.keys(sums) as (keyof typeof sums)[]) sums[key] += run[key]
  }
  t.log(JSON.stringify(sums))
  t.true(sums.allowed > 0 && sums.refused > 0 && sums.unavailable > 0)
})

test('where nothing fails every unit can be used, by one or by thirty-two, and nobody waits in vain', (t) => {
  for (const sidecars of [1, 2, 4, 8, 16, 32]) {
    const run = simulateMetering({
      seed: sidecars,
      sidecars,
      limit: 800,
      rate: 400,
      largest: 1,
      forMs: 4_000,
      changes: 0,
      windowEnds: false,
      soft: false,
      reserved: 0,
      journals: 0,
      faults: calm,
    })
    t.deepEqual(run.wrong, [], `${sidecars} sidecars`)
    t.is(run.allowed, 800, `${sidecars} sidecars`)
    t.is(run.unavailable, 0, `${sidecars} sidecars`)
    t.log(`${sidecars} sidecars: ${run.questions} questions for 800 uses, ${run.refused} refused after the last`)
  }
})
