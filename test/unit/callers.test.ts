import test from 'ava'
import { Secret } from '../../common/secret.ts'
import { createCallers } from '../../sidecar/policy/callers.ts'

test('a caller without a key, or with an unknown one, may not even listen', (t) => {
  const callers = createCallers(new Secret({ 'a-key-of-an-application': ['t'] }))
  t.notThrows(() => callers.checkKnown('Bearer a-key-of-an-application'))
  t.notThrows(() => callers.checkKnown('bearer a-key-of-an-application'))
  for (const authorization of [undefined, '', 'Bearer other', 'a-key-of-an-application'])
    t.throws(() => callers.checkKnown(authorization), { code: 'unauthenticated' }, String(authorization))
  t.throws(() => callers.check('Bearer a-key-of-an-application', 'u'), { code: 'forbidden' })
  t.notThrows(() => createCallers(undefined).checkKnown(undefined))
})
