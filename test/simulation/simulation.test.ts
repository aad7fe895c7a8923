/**
 * Thousands of random lives: customers' actions, providers' outcomes, kills between any two writes, a second control
 * plane beside the first, and moves of the clock, against the real control plane and against the model at once. After
 * every step: what was charged is what is owed, no obligation is charged twice, access is on exactly when the state
 * says so, nothing is left half-done, and what is published is what follows from what is stored.
 *
 *   SIMULATION_SEQUENCES=10000 SIMULATION_SEED=1 npx ava test/simulation
 *   SIMULATION_SEQUENCES=1 SIMULATION_SEED=4711 npx ava test/simulation     one that failed, again
 */
import test from 'ava'
import { openLaboratory } from './laboratory.ts'
import { play } from './play.ts'

const SEQUENCES = Number(process.env.SIMULATION_SEQUENCES ?? 300)
const FIRST_SEED = Number(process.env.SIMULATION_SEED ?? Date.now() % 1_000_000)
const STEPS = 15
/** A new laboratory every so many lives, so that none is judged by how full its store is. */
const LIVES = 50

test(`${SEQUENCES} random lives from seed ${FIRST_SEED} go as the model says`, async (t) => {
  t.timeout(60_000 + SEQUENCES * 200)
  const totals = { steps: 0, kills: 0, charges: 0 }
  let laboratory = openLaboratory()
  for (let n = 0; n < SEQUENCES; n += 1) {
    if (n % LIVES === LIVES - 1) {
      totals.charges += laboratory.bank.charges().length
      await laboratory.close()
      laboratory = openLaboratory()
    }
    const { steps, kills } = await play(laboratory, FIRST_SEED + n, STEPS)
    totals.steps += steps
    totals.kills += kills
  }
  totals.charges += laboratory.bank.charges().length
  await laboratory.close()
  t.log(`${SEQUENCES} lives from seed ${FIRST_SEED}: ${totals.steps} steps, ${totals.charges} charges, ${totals.kills} kills`)
  if (SEQUENCES >= 100) t.true(totals.charges > SEQUENCES, 'the lives were worth living')
})
