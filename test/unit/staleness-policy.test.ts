/** What is answered when the sidecar's knowledge is too old: `answerWhenStale`. */
import test from 'ava'
import { answerWhenStale, type StalenessPolicy, servesAlways, stalenessPolicy } from '../../common/entitlements/staleness-policy.ts'

const policy: StalenessPolicy = {
  default: 'deny',
  entitlements: {
    kept: 'serve',
    refused: 'deny',
    shown: { fallback: { allowed: true } },
    named: { fallback: { allowed: true, value: 'basic' } },
    counted: { fallback: { allowed: true, limit: 0 } },
  },
}

const refused = { allowed: false, reason: 'fallback', unlimited: false } as const
const cases: [title: string, key: string, answer: ReturnType<typeof answerWhenStale>][] = [
  ['serve answers as it was last known', 'kept', undefined],
  ['deny refuses', 'refused', refused],
  ['a fallback is the answer', 'shown', { allowed: true, reason: 'fallback', unlimited: false }],
  ['a fallback may name a value', 'named', { allowed: true, reason: 'fallback', unlimited: false, kind: 'value', value: 'basic' }],
  ['a fallback may name a limit, and a limit of none', 'counted', { allowed: true, reason: 'fallback', unlimited: false, limit: 0, remaining: 0 }],
  ['what is not named has the default', 'other', refused],
  ['what every object has is not named', 'constructor', refused],
]
for (const [title, key, answer] of cases) test(title, (t) => t.deepEqual(answerWhenStale(policy, key), answer))

test('without a policy everything is served', (t) => {
  t.is(answerWhenStale(servesAlways, 'kept'), undefined)
  t.deepEqual(stalenessPolicy.parse({}), servesAlways)
})

test('a policy is read as it is written', (t) => t.deepEqual(stalenessPolicy.parse(policy), policy))

test('a policy is refused that says nothing, says something else or names nothing', (t) => {
  for (const wrong of [
    { default: 'maybe' },
    { entitlements: { '': 'deny' } },
    { entitlements: { k: { fallback: {} } } },
    { entitlements: { k: { fallback: { allowed: true, limit: -1 } } } },
    { entitlements: { k: { fallback: { allowed: true, limit: 0.5 } } } },
    { entitlements: { k: { fallback: { allowed: true, text: 'x' } } } },
    { entitlements: { k: { fallback: { allowed: true }, more: 1 } } },
    { more: 1 },
  ])
    t.false(stalenessPolicy.safeParse(wrong).success, JSON.stringify(wrong))
  t.regex(String(stalenessPolicy.safeParse({ default: 'maybe' }).error), /must be .*serve.*deny.*fallback/)
})
