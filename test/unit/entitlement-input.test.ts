import test from 'ava'
import { entitlementsInput } from '../../control-plane/http/routes/entitlement-input.ts'

const read = (input: unknown) => entitlementsInput.safeParse([input])

test('the shorthand and the kinds mean the same', (t) => {
  const cases: [input: object, meaning: object][] = [
    [
      { type: 'feature_flag', value: 'analytics', enabled: true },
      { key: 'analytics', kind: 'flag', enabled: true },
    ],
    [
      { type: 'feature_flag', value: 'analytics', enabled: false },
      { key: 'analytics', kind: 'flag', enabled: false },
    ],
    [
      { type: 'api_limit', value: 10_000, unit: 'calls_per_month' },
      { key: 'api_limit', kind: 'quota', limit: 10_000, per: 'month' },
    ],
    [
      { type: 'api_limit', key: 'search', value: 5, unit: 'searches_per_day' },
      { key: 'search', kind: 'quota', limit: 5, per: 'day' },
    ],
    [
      { kind: 'flag', key: 'k' },
      { key: 'k', kind: 'flag', enabled: true },
    ],
    [
      { kind: 'quota', key: 'k', limit: 3, per: 'week' },
      { key: 'k', kind: 'quota', limit: 3, per: 'week' },
    ],
    [
      { type: 'quota', key: 'k', value: 3, unit: 'calls_per_year' },
      { key: 'k', kind: 'quota', limit: 3, per: 'year' },
    ],
    [
      { kind: 'quota', key: 'k', limit: 3, per: 'week', overage: 'allow', warnAt: [100, 80] },
      { key: 'k', kind: 'quota', limit: 3, per: 'week', overage: 'allow', warnAt: [80, 100] },
    ],
    [
      { kind: 'capacity', key: 'k', limit: 3, overage: 'deny', warnAt: [] },
      { key: 'k', kind: 'capacity', limit: 3 },
    ],
    [
      { kind: 'capacity', key: 'k', limit: null },
      { key: 'k', kind: 'capacity', limit: null },
    ],
    [
      { kind: 'capacity', key: 'k', unlimited: true },
      { key: 'k', kind: 'capacity', limit: null },
    ],
    [
      { type: 'value', key: 'k', value: 'business hours' },
      { key: 'k', kind: 'value', value: 'business hours' },
    ],
  ]
  for (const [input, meaning] of cases) t.deepEqual(read(input).data, [meaning] as never, JSON.stringify(input))
})

test('an error names the field that is wrong', (t) => {
  const cases: [input: unknown, path: string][] = [
    [{ kind: 'quota', key: 'k', limit: 3 }, '0.per'],
    [{ kind: 'quota', key: 'k', per: 'month' }, '0.limit'],
    [{ kind: 'quota', key: 'k', limit: 3, unlimited: true, per: 'month' }, '0.limit'],
    [{ kind: 'capacity', key: 'k', limit: -1 }, '0.limit'],
    [{ kind: 'capacity', key: 'a b', limit: 1 }, '0.key'],
    [{ kind: 'seats', key: 'k' }, '0.kind'],
    [{ type: 'api_limit', value: 1, unit: 'calls_per_fortnight' }, '0.unit'],
    [{ type: 'feature_flag', enabled: true }, '0.value'],
    [{ kind: 'capacity', key: 'k', limit: 1, overage: 'soft' }, '0.overage'],
    [{ kind: 'capacity', key: 'k', limit: 1, warnAt: [0] }, '0.warnAt.0'],
    [{ kind: 'capacity', key: 'k', limit: 1, warnAt: [1_001] }, '0.warnAt.0'],
    [{ kind: 'capacity', key: 'k', limit: 1, warnAt: [80.5] }, '0.warnAt.0'],
    [{ kind: 'capacity', key: 'k', limit: 1, warnAt: [80, 80] }, '0.warnAt'],
    [{ kind: 'capacity', key: 'k', limit: 1, warnAt: Array.from({ length: 11 }, (_, n) => n + 1) }, '0.warnAt'],
    [{ kind: 'capacity', key: 'k', limit: null, overage: 'allow' }, '0.overage'],
    [{ kind: 'quota', key: 'k', unlimited: true, per: 'day', warnAt: [80] }, '0.warnAt'],
    [{ type: 'api_limit', value: 1, unit: 'calls_per_day', overage: 'allow' }, '0'],
    ['flag', '0'],
    [null, '0'],
  ]
  for (const [input, path] of cases) {
    const paths = read(input).error?.issues.map((issue) => issue.path.join('.'))
    t.true(paths?.includes(path), `${JSON.stringify(input)}: ${paths}`)
  }
  const twice = entitlementsInput.safeParse([
    { kind: 'flag', key: 'k' },
    { kind: 'capacity', key: 'k', limit: 1 },
  ])
  t.is(twice.error?.issues[0]?.path.join('.'), '1.key')
})
