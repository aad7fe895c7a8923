/** What is known of the sidecar's time from messages that say it, and come when they come. */
import test from 'ava'
import { createSidecarClock } from '../../client/sidecar-clock.ts'

const clocks = () => {
  let [monotonic, system] = [500, 1_700_000_000_000]
  const clock = createSidecarClock(
    () => monotonic,
    () => system,
  )
  const pass = (ms: number) => {
    monotonic += ms
    system += ms
  }
  const setSystem = (ms: number) => {
    system += ms
  }
  return { clock, pass, setSystem }
}

test('it goes on from what was heard, whatever time it is here', (t) => {
  const { clock, pass } = clocks()
  t.is(clock.nowMs(), undefined)
  clock.hear(1_000_000)
  pass(250)
  t.is(clock.nowMs(), 1_000_250)
})

test('a message that is read late does not set it back; a sidecar whose clock is set back does, in a while', (t) => {
  const { clock, pass } = clocks()
  clock.hear(1_000_000)
  pass(1_000)
  // Read three seconds late, with many others.
  for (let n = 0; n < 50; n += 1) clock.hear(998_000)
  t.is(clock.nowMs(), 1_001_000)
  let sidecar = 900_000
  for (let second = 0; second < 22; second += 1) {
    clock.hear(sidecar)
    sidecar += 1_000
    pass(1_000)
  }
  t.is(clock.nowMs(), sidecar)
})

test('a process that was frozen knows no time until it hears one', (t) => {
  const { clock, pass, setSystem } = clocks()
  clock.hear(1_000_000)
  // The monotonic clock stands still meanwhile.
  setSystem(60_000)
  t.is(clock.nowMs(), undefined)
  clock.hear(1_060_000)
  pass(10)
  t.is(clock.nowMs(), 1_060_010)
  setSystem(-3_600_000)
  t.is(clock.nowMs(), 1_060_010, 'a clock that is set back here is nothing')
})
