/** A path that a gateway and an application may read differently is never judged as another path. */
import test from 'ava'
import fc from 'fast-check'
import { readPathTemplate } from '../../sidecar/ext-authz/path-template.ts'
import { type PathRules, readTarget } from '../../sidecar/ext-authz/request-target.ts'

const strict: PathRules = { encodedSlashes: 'refuse', semicolons: 'refuse' }
const pathOf = (target: string, rules = strict): string | undefined => {
  const read = readTarget(target, rules)
  return 'path' in read ? read.path : undefined
}

test('a plain path is read decoded, and its query apart', (t) => {
  t.is(pathOf('/v1/reports/42'), '/v1/reports/42')
  t.is(pathOf('/v1/%72eports/gr%C3%BC%C3%9Fe?x=/../'), '/v1/reports/grüße')
  t.is(pathOf('/100%25'), '/100%')
  t.is(pathOf('/'), '/')
  t.is(pathOf('/v1/'), '/v1/')
  t.is(pathOf('/..a/b../...'), '/..a/b../...')
  const read = readTarget('/a?b=1&b=2&c=%2F', strict)
  t.true('query' in read)
  if ('query' in read) t.deepEqual([read.query.getAll('b'), read.query.get('c')], [['1', '2'], '/'])
})

const ambiguous: [target: string, why: string][] = [
  ['', 'it does not begin with a slash'],
  ['*', 'it does not begin with a slash'],
  ['http://other/v1', 'it does not begin with a slash'],
  ['?a=b', 'it does not begin with a slash'],
  ['/a//b', 'it has an empty segment'],
  ['//a', 'it has an empty segment'],
  ['/a//', 'it has an empty segment'],
  ['/a/../b', 'it has a segment . or ..'],
  ['/a/%2e%2E/b', 'it has a segment . or ..'],
  ['/a/.%2e', 'it has a segment . or ..'],
  ['/./a', 'it has a segment . or ..'],
  ['/a/%2Fb', 'it has an encoded slash'],
  ['/a%2fb', 'it has an encoded slash'],
  ['/a\\b', 'it has a backslash'],
  ['/a%5Cb', 'it has a backslash'],
  ['/a;b=c/d', 'it has a semicolon'],
  ['/a%3Bb', 'it has a semicolon'],
  ['/a%00b', 'it has a control character'],
  ['/a%0a', 'it has a control character'],
  ['/a%7F', 'it has a control character'],
  ['/a%252Fb', 'it is percent-encoded twice'],
  ['/a%25%32%46b', 'it is percent-encoded twice'],
  ['/a%', 'it has a % without two hexadecimal digits'],
  ['/a%zz', 'it has a % without two hexadecimal digits'],
  ['/a%ff', 'it is not UTF-8'],
  ['/a%C0%AFb', 'it is not UTF-8'],
  ['/grüße', 'it has characters that are not percent-encoded'],
  ['/a b', 'it has characters that are not percent-encoded'],
  ['/a#b', 'it has a fragment'],
]
for (const [target, why] of ambiguous) {
  test(`${JSON.stringify(target)} is ambiguous: ${why}`, (t) => {
    t.deepEqual(readTarget(target, strict), { ambiguous: why })
  })
}

test('an encoded slash that is kept is no border between segments, and a segment .. is none of a path, however it is written', (t) => {
  const kept: PathRules = { encodedSlashes: 'keep', semicolons: 'keep' }
  t.is(pathOf('/projects/group%2fname/x', kept), '/projects/group%2Fname/x')
  t.deepEqual(readPathTemplate('/projects/{project}/x').match('/projects/group%2Fname/x'), { project: 'group%2Fname' })
  t.is(pathOf('/a;v=1/b', kept), '/a;v=1/b')
  for (const target of ['/a/..%2fb', '/a%2F..', '/a/..;/b', '/a/%2e%2e;x=1/b', '/a/.;/b', '/a/..%3bx/b']) t.is(pathOf(target, kept), undefined, target)
})

/** As many ways of writing a path as gateways and applications know. */
const pieces = fc.constantFrom(
  'a',
  'B',
  'v1',
  'reports',
  '/',
  '//',
  '.',
  '..',
  '%2e',
  '%2E',
  '%2f',
  '%2F',
  '%5c',
  '\\',
  ';',
  ';x=1',
  '%3b',
  '%25',
  '%252f',
  '%00',
  '%c3%bc',
  '%ff',
  'é',
  ' ',
  '%',
  '%41',
  '%32',
  '2f',

  '#',
  ':',
  '@',
  '+',
)
const written = fc.array(pieces, { maxLength: 12 }).map((all) => `/${all.join('')}`)

test('whoever normalises a path that is plain reads what the rules read', (t) => {
  fc.assert(
    fc.property(written, (target) => {
      const path = pathOf(target)
      if (path === undefined) return
      // By WHATWG's URL, which folds dot segments, also encoded ones, and backslashes.
      const url = new URL(`http://host${target}`)
      t.is(decodeURIComponent(url.pathname), path)
      t.is(url.host, 'host')
      // By applications that merge slashes, remove matrix parameters, decode twice, or decode before they look.
      t.is(path.replaceAll(/\/{2,}/g, '/'), path)
      t.is(path.replaceAll(/;[^/]*/g, ''), path)
      t.notRegex(path, /%[0-9a-f]{2}/i)
      t.notRegex(path, /[\\\p{Cc}]/u)
      t.false(path.split('/').some((segment) => segment === '.' || segment === '..'))
      t.is(path.split('/').length, target.split('/').length, 'as many segments as the caller wrote')
    }),
    { numRuns: 5_000 },
  )
})

test('two ways of writing one path are one path, or one of them is ambiguous', (t) => {
  const segment = fc.stringMatching(/^[A-Za-z0-9._~!$'()*+,=:@-]{1,8}$/).filter((one) => one !== '.' && one !== '..')
  fc.assert(
    fc.property(fc.array(segment, { minLength: 1, maxLength: 5 }), fc.infiniteStream(fc.boolean()), (segments, encodes) => {
      const plain = `/${segments.join('/')}`
      const encoded = [...plain].map((one) => (one !== '/' && encodes.next().value ? `%${one.charCodeAt(0).toString(16)}` : one)).join('')
      t.is(pathOf(plain), plain)
      t.is(pathOf(encoded), plain)
    }),
  )
})

test('a template matches whole segments, and its parameters are what the application gets', (t) => {
  const report = readPathTemplate('/v1/reports/{report}')
  t.deepEqual(report.names, ['report'])
  t.deepEqual(report.match('/v1/reports/42'), { report: '42' })
  t.deepEqual(report.match('/v1/reports/a.b c'), { report: 'a.b c' })
  for (const other of ['/v1/reports', '/v1/reports/', '/v1/reports/42/x', '/x/v1/reports/42', '/v1/reports.42']) t.is(report.match(other), undefined, other)
  t.deepEqual(readPathTemplate('/files/{name}.{ext}').match('/files/a.csv'), { name: 'a', ext: 'csv' })
  const below = readPathTemplate('/files/{rest...}')
  t.deepEqual(below.match('/files/a/b/c'), { rest: 'a/b/c' })
  t.is(below.match('/files'), undefined)
  t.is(below.match('/files/'), undefined)
  t.deepEqual(readPathTemplate('/a+b(c)*').match('/a+b(c)*'), {}, 'nothing in it is a pattern')
  t.deepEqual(readPathTemplate('/').match('/'), {})
})

test('a path that differs by case, or by a slash at its end, alone is nearly the same', (t) => {
  const report = readPathTemplate('/v1/reports/{report}')
  for (const near of ['/V1/reports/42', '/v1/Reports/42', '/v1/reports/42/', '/V1/REPORTS/x/']) t.is(report.match(near), 'nearly', near)
  t.deepEqual(report.match('/v1/reports/ABC'), { report: 'ABC' }, 'the case of a parameter is its own')
  t.is(readPathTemplate('/v1/').match('/v1'), 'nearly')
  t.is(readPathTemplate('/').match('//'), 'nearly')
})

const wrong: [template: string, message: string][] = [
  ['v1', 'must begin with a slash'],
  ['/a//b', 'must be a plain path, without %, ?, #, \\, ;, // and segments . or ..'],
  ['/a/../b', 'must be a plain path, without %, ?, #, \\, ;, // and segments . or ..'],
  ['/a%20b', 'must be a plain path, without %, ?, #, \\, ;, // and segments . or ..'],
  ['/a?b', 'must be a plain path, without %, ?, #, \\, ;, // and segments . or ..'],
  ['/{a}{b}', 'must have text between two parameters'],
  ['/{a}/{a}', 'must not have two parameters of one name'],
  ['/{a...}/b', 'must have {a...} as its last segment'],
  ['/x{a...}', 'must have {a...} as its last segment'],
  ['/{a', 'must name its parameters as {name} or {name...}'],
  ['/{}', 'must name its parameters as {name} or {name...}'],
]
for (const [template, message] of wrong) {
  test(`the template ${template} is refused`, (t) => {
    t.throws(() => readPathTemplate(template), { instanceOf: TypeError, message })
  })
}
