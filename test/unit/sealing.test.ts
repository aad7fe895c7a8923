import { randomBytes } from 'node:crypto'
import test from 'ava'
import { Secret } from '../../common/secret.ts'
import { createSealing } from '../../control-plane/storage/sealing.ts'

const [one, two] = [randomBytes(32).toString('base64'), randomBytes(32).toString('base64')]

test('a sealed text opens with its key, for its document, and as long as nobody has changed it', (t) => {
  const sealing = createSealing(new Secret(one))
  const sealed = sealing.seal(new Secret('sk_live_1'), 'shop/stripe')
  t.false(sealed.includes('sk_live'))
  t.not(sealing.seal(new Secret('sk_live_1'), 'shop/stripe'), sealed)
  t.is(sealing.open(sealed, 'shop/stripe').reveal(), 'sk_live_1')
  t.throws(() => sealing.open(sealed, 'thief/stripe'))
  t.throws(() => createSealing(new Secret(two)).open(sealed, 'shop/stripe'))
  const changed = `${sealed.slice(0, -6)}AAAA${sealed.slice(-2)}`
  t.throws(() => sealing.open(changed, 'shop/stripe'))
})

test('a new key seals, and the old one still opens', (t) => {
  const sealed = createSealing(new Secret(one)).seal(new Secret('sk_live_1'), 'a')
  const both = createSealing(new Secret(`${two},${one}`))
  t.is(both.open(sealed, 'a').reveal(), 'sk_live_1')
  t.is(
    createSealing(new Secret(two))
      .open(both.seal(new Secret('sk_live_2'), 'a'), 'a')
      .reveal(),
    'sk_live_2',
  )
})

test('without a key secrets are stored as they are, and are still read when one is set', (t) => {
  const stored = createSealing(undefined).seal(new Secret('{"secretKey":"sk"}'), 'a')
  t.is(stored, '{"secretKey":"sk"}')
  t.is(createSealing(new Secret(one)).open(stored, 'a').reveal(), stored)
})
