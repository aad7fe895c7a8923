/** What `derive` keeps of a customer's subscriptions, and in which order. */
import test from 'ava'
import { derive, type SubscriptionAccess } from '../../common/entitlements/derive.ts'

const bought = (subscriptionId: string, keys: string[], change: Partial<SubscriptionAccess> = {}): SubscriptionAccess => ({
  subscriptionId,
  bundleId: 'b',
  access: 'on',
  fromMs: 1,
  anchorMs: () => 0,
  timeZone: 'UTC',
  entitlements: keys.map((key) => ({ key, kind: 'flag', enabled: true })),
  ...change,
})
const orderOf = (subscriptions: SubscriptionAccess[]) => derive(subscriptions).grants.map(({ key, subscriptionId }) => `${key} ${subscriptionId}`)
const ended = (untilMs: number): Partial<SubscriptionAccess> => ({ access: 'ended', untilMs })

test('grants are ordered by key, then by age, then by id, however they came', (t) => {
  const three = [bought('c', ['y', 'x', 'z'], { fromMs: 2 }), bought('b', ['z', 'x', 'y']), bought('a', ['x', 'z', 'y'])]
  const ordered = ['x a', 'x b', 'x c', 'y a', 'y b', 'y c', 'z a', 'z b', 'z c']
  t.deepEqual(orderOf(three), ordered)
  t.deepEqual(orderOf(three.toReversed()), ordered)
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
