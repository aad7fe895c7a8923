import test from 'ava'
import { Budget } from '../../sidecar/transport/fast/budget.ts'

test('a spent budget comes back with time, up to the burst, and a clock that is set back takes nothing', (t) => {
  const budget = new Budget({ burst: 3, perSecond: 1 }, 10_000)
  const spend = (nowMs: number) => budget.spend(nowMs)
  t.deepEqual([10_000, 10_000, 10_000, 10_000].map(spend), [true, true, true, false])
  t.deepEqual([13_000, 13_000].map(spend), [true, true])
  t.deepEqual([100_000, 100_000, 100_000, 100_000].map(spend), [true, true, true, false])
  t.true(new Budget({ burst: 3, perSecond: 1 }, 10_000).spend(1_000))
})
