/** What others wrote and runs with us: under licences that anybody may sell by, and told of. */
import test from 'ava'
import { billOfMaterials } from '../../cli/sbom.ts'
import { thirdParties } from '../../cli/third-party.ts'

/** None asks for more than that its text goes along. */
const ALLOWED = new Set([
  'MIT',
  'ISC',
  'Apache-2.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  '0BSD',
  'BlueOak-1.0.0',
  'Unlicense',
  'CC0-1.0',
  'Python-2.0',
  'MIT-0',
  'MIT/X11',
])

/** `(MIT OR CC0-1.0)`: one of them is enough; `AND`: all of them are needed. */
const isAllowed = (expression: string): boolean =>
  expression
    .replaceAll(/[()]/g, '')
    .split(' OR ')
    .some((one) => one.split(' AND ').every((name) => ALLOWED.has(name.trim())))

test('the licence of every package in production asks for nothing but its text', (t) => {
  const all = thirdParties(process.cwd())
  t.true(all.length > 100)
  t.deepEqual(
    all.filter(({ license }) => !isAllowed(license)).map(({ name, license }) => `${name}: ${license}`),
    [],
  )
  t.true(all.filter(({ text }) => text !== '').length > all.length * 0.9)
})

test('the bill of materials names each package, with its hash', (t) => {
  const { bomFormat, components } = billOfMaterials(process.cwd())
  t.is(bomFormat, 'CycloneDX')
  t.is(components.length, thirdParties(process.cwd()).length)
  const koa = components.find(({ name }) => name === 'koa')
  t.regex(koa?.purl ?? '', /^pkg:npm\/koa@3\./)
  t.deepEqual(koa?.licenses, [{ expression: 'MIT' }])
  t.regex(koa?.hashes[0]?.content ?? '', /^[0-9a-f]{128}$/)
  t.is(components.find(({ group }) => group === '@grpc')?.purl.slice(0, 18), 'pkg:npm/%40grpc/gr')
  t.is(new Set(components.map((one) => one['bom-ref'])).size, components.length)
})
