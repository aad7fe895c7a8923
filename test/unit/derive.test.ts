/** What `derive` keeps of a customer's subscriptions, and in which order. */
import test from 'ava'
import { derive, type SourceAccess } from '../../common/entitlements/derive.ts'

const bought = (subscriptionId: string, keys: string[], change: Partial<SourceAccess> = {}): SourceAccess => ({
  subscriptionId,
  bundleId: 'b',
  access: 'on',
  fromMs: 1,
  anchorMs: () => 0,
  timeZone: 'UTC',
  entitlements: keys.map((key) => ({ key, kind: 'flag', enabled: true })),
  ...change,
})
const orderOf = (subscriptions: SourceAccess[]) => derive(subscriptions).grants.map(({ key, subscriptionId }) => `${key} ${subscriptionId}`)
const ended = (untilMs: number): Partial<SourceAccess> => ({ access: 'ended', untilMs })

test('grants are ordered by key, then by age, then by id, however they came', (t) => {
  const three = [bought('c', ['y', 'x', 'z'], { fromMs: 2 }), bought('b', ['z', 'x', 'y']), bought('a', ['x', 'z', 'y'])]
  const ordered = ['x a', 'x b', 'x c', 'y a', 'y b', 'y c', 'z a', 'z b', 'z c']
  t.deepEqual(orderOf(three), ordered)
  t.deepEqual(orderOf(three.toReversed()), ordered)
})

const given = (id: string, keys: string[], change: Partial<SourceAccess> = {}): SourceAccess => ({
  ...bought('', keys),
  bundleId: '',
  source: { type: 'manual', id },
  ...change,
})

test('grants by hand stand among subscriptions by age, and those that deny last', (t) => {
  const sources = [
    given('g1', ['x'], { mode: 'deny' }),
    bought('b', ['x'], { fromMs: 5 }),
    given('g2', ['x', 'y'], { fromMs: 3, mode: 'floor' }),
    bought('a', ['x']),
  ]
  const order = (all: SourceAccess[]) => derive(all).grants.map(({ key, source, subscriptionId, mode }) => [key, source?.id ?? subscriptionId, mode])
  const expected = [
    ['x', 'a', undefined],
    ['x', 'g2', 'floor'],
    ['x', 'b', undefined],
    ['x', 'g1', 'deny'],
    ['y', 'g2', 'floor'],
  ]
  t.deepEqual(order(sources), expected)
  t.deepEqual(order(sources.toReversed()), expected)
})

test('a denial has terms of another kind that hold nothing, and says of which kind its key is', (t) => {
  const kinds = [
    { key: 'a', kind: 'flag', enabled: true },
    { key: 'b', kind: 'capacity', limit: 9 },
    { key: 'c', kind: 'quota', limit: null, per: 'day' },
    { key: 'd', kind: 'value', value: 'gold' },
  ] as const
  const { grants } = derive([given('g', [], { mode: 'deny', entitlements: kinds })])
  t.deepEqual(
    grants.map(({ deniedKind, terms }) => [deniedKind, terms.kind, 'limit' in terms && terms.limit]),
    [
      ['flag', 'capacity', 0],
      ['capacity', 'quota', 0],
      ['quota', 'capacity', 0],
      ['value', 'capacity', 0],
    ],
  )
})

test('what was given by hand and has ended stands before a subscription that ended earlier, which is remembered', (t) => {
  const sub = bought('s', ['k'], ended(5))
  t.deepEqual(derive([sub, given('g', ['k'], ended(9))]), { ...derive([given('g', ['k'], ended(9))]), hidden: ['s'] })
  t.deepEqual(derive([sub, given('g', ['k'], ended(3))]), derive([sub]))
  t.deepEqual(derive([sub, given('g', ['k'], { ...ended(9), mode: 'deny' })]), derive([sub]), 'a denial that is over says nothing')
  t.deepEqual(derive([sub, given('g', ['k'])]).hidden, ['s'])
  t.deepEqual(orderOf([sub, given('g', ['k'], { mode: 'deny' })]), ['k s', 'k '], 'what denies hides nothing')
})

test('among ended subscriptions the last to end is kept, and among equal ones the newest', (t) => {
  t.deepEqual(orderOf([bought('a', ['k'], ended(9)), bought('b', ['k'], ended(5))]), ['k a'])
  t.deepEqual(orderOf([bought('a', ['k'], ended(5)), bought('b', ['k'], ended(5))]), ['k b'])
})

test('a living grant of the same key, on or off, hides an ended one, which is named once', (t) => {
  for (const access of ['on', 'off'] as const) {
    const { grants, hidden } = derive([
      bought('z', ['k', 'l'], ended(9)),
      bought('a', ['m'], { ...ended(9), fromMs: 3 }),
      bought('free', ['n'], ended(9)),
      bought('live', ['k', 'l', 'm'], { access }),
    ])
    t.deepEqual(hidden, ['a', 'z'])
    t.deepEqual(
      grants.map(({ subscriptionId }) => subscriptionId),
      ['live', 'live', 'live', 'free'],
    )
    t.false('untilMs' in (grants[0] ?? {}))
  }
})

test('a soft limit is kept, and the shares at which it is told of are not', (t) => {
  const entitlements = [
    { key: 'a', kind: 'capacity', limit: 9, overage: 'allow', warnAt: [80] },
    { key: 'b', kind: 'quota', limit: 9, per: 'day', overage: 'allow', warnAt: [80] },
    { key: 'c', kind: 'capacity', limit: 9, warnAt: [80] },
  ] as const
  const { grants } = derive([bought('s', [], { entitlements: entitlements.map((one) => ({ ...one, warnAt: [...one.warnAt] })) })])
  t.deepEqual(
    grants.map(({ terms }) => terms),
    [
      { kind: 'capacity', limit: 9, overage: 'allow' },
      { kind: 'quota', limit: 9, per: 'day', anchorMs: 0, timeZone: 'UTC', overage: 'allow' },
      { kind: 'capacity', limit: 9 },
    ],
  )
})
