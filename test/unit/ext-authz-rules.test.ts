/** The file of rules for gateways: every mistake is named by its place. */
import { globSync, readFileSync } from 'node:fs'
import test from 'ava'
import fc from 'fast-check'
import { ConfigError } from '../../common/config.ts'
import { type GatewayRequest, ruleFor, valueIn } from '../../sidecar/ext-authz/gateway-request.ts'
import { readTarget } from '../../sidecar/ext-authz/request-target.ts'
import { type Question, readRules, type Source } from '../../sidecar/ext-authz/rules.ts'

const mistakesOf = (written: string): string[] => {
  try {
    readRules(written)
    return []
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    const [head, ...lines] = error.message.split('\n')
    if (head !== 'EXT_AUTHZ_RULES_FILE: the rules are wrong:') throw error
    return lines.map((line) => line.trim())
  }
}

const whole = `
default: allow
defaults: { tenant: acme, storefront: us, customer: { header: X-Customer-Id }, limitStatus: 429 }
rules:
  - name: health
    match: { path: /healthz }
    action: allow
  - name: reports
    match: { host: [API.example.com, "*.example.org"], method: GET, path: "/v1/reports/{report}", headers: { X-Version: "2", x-any: true } }
    action: check
    entitlement: reports
  - name: calls
    match: { path: ["/v1/calls", "/v1/{kind}/calls"] }
    action: consume
    customer: { claim: [realm, id], payload: token }
    entitlement: calls
    amount: { query: n, default: 1 }
    idempotencyKey: { header: x-request-id }
    whenUnknown: allow
    missingStatus: 403
    dryRun: true
`

test('a file of rules is read, with what it leaves out', (t) => {
  const rules = readRules(whole)
  t.like(rules, { default: 'allow', dryRun: false, paths: { encodedSlashes: 'refuse', semicolons: 'refuse' } })
  const [health, reports, calls] = rules.rules
  t.like(health, { name: 'health', action: 'allow', dryRun: false })
  t.like(reports, { match: { host: ['api.example.com', '*.example.org'], method: ['GET'] }, dryRun: false })
  t.deepEqual(reports?.match.headers, [
    ['x-version', '2'],
    ['x-any', true],
  ])
  t.deepEqual(reports?.action as Question, {
    tenant: { constant: 'acme' },
    storefront: { constant: 'us' },
    customer: { header: 'x-customer-id' },
    entitlement: { constant: 'reports' },
    amount: { constant: 1 },
    idempotencyKey: undefined,
    counts: false,
    missingStatus: 401,
    limitStatus: 429,
    whenUnknown: 'refuse',
  })
  t.like(calls, { dryRun: true, action: { counts: true, whenUnknown: 'allow', missingStatus: 403, idempotencyKey: { header: 'x-request-id' } } })
  t.like(calls?.action as Question, { customer: { claim: ['realm', 'id'], payload: 'token' }, amount: { query: 'n', default: 1 } })
})

test('the same file in JSON is the same rules, and without a word, a request that no rule is for is refused', (t) => {
  const rules = readRules('{"rules": [{"name": "a", "action": "deny"}]}')
  t.like(rules, { default: 'deny', dryRun: false })
  t.like(rules.rules[0], { name: 'a', action: 'deny' })
  t.true(readRules('{"dryRun": true, "rules": [{"name": "a", "action": "deny"}]}').rules[0]?.dryRun)
})

const rule = (more: string) => `{defaults: {tenant: a, storefront: b, customer: c}, rules: [{name: r, action: consume, entitlement: e, ${more}}]}`
const mistakes: [written: string, ...mistakes: string[]][] = [
  ['rules: [', 'Flow sequence in block collection must be sufficiently indented and end with a ] at line 1, column 9'],
  ['a: 1\na: 2\nrules: []', 'Map keys must be unique at line 2, column 1'],
  [
    'a: &a [x, x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b]\nd: [*c, *c, *c, *c, *c, *c]',
    'Excessive alias count indicates a resource exhaustion attack',
  ],
  ['', 'the file must be an object'],
  ['{}', 'rules: is required'],
  ['{rules: [], other: 1}', 'the file must not have other'],
  ['{rules: [{name: A, action: allow}]}', 'rules[0].name: must be 1 to 64 of a-z, 0-9, _ and -'],
  ['{rules: [{name: none, action: allow}]}', 'rules[0].name: must not be none: metrics call requests so that no rule is for'],
  ['{rules: [{name: a, action: allow}, {name: a, action: deny}]}', 'rules[1].name: must not be the name of another rule'],
  ['{rules: [{name: a, action: pass}]}', 'rules[0].action: must be one of check, consume, allow, deny'],
  ['{rules: [{name: a, action: deny, amount: 2}]}', 'rules[0].amount: must not be set, for the action is deny'],
  [
    '{rules: [{name: a, action: check}]}',
    'rules[0].tenant: is required, here or in defaults',
    'rules[0].storefront: is required, here or in defaults',
    'rules[0].customer: is required, here or in defaults',
    'rules[0].entitlement: is required',
  ],
  [rule('customer: {}'), 'rules[0].customer: must have exactly one of constant, header, path, query, claim, context'],
  [rule('customer: {header: a, query: b}'), 'rules[0].customer: must have exactly one of constant, header, path, query, claim, context'],
  [
    rule('customer: {heade: a}'),
    'rules[0].customer: must not have heade',
    'rules[0].customer: must have exactly one of constant, header, path, query, claim, context',
  ],
  [rule('customer: {header: 1}'), 'rules[0].customer.header: must be text'],
  [rule('customer: {header: a, payload: b}'), 'rules[0].customer.payload: needs a claim'],
  [rule('customer: true'), 'rules[0].customer: must be an object'],
  [rule('amount: -1'), 'rules[0].amount.constant: must be text or a whole number'],
  [rule('amount: 1.5'), 'rules[0].amount.constant: must be text or a whole number'],
  [rule('customer: {path: id}'), 'rules[0].customer.path: must be a parameter of each match.path; id is not'],
  [rule('customer: {path: id}, match: {path: ["/a/{id}", "/b"]}'), 'rules[0].customer.path: must be a parameter of each match.path; id is not'],
  [rule('match: {path: [/a, b]}'), 'rules[0].match.path[1]: must begin with a slash'],
  [rule('match: {method: get}'), 'rules[0].match.method[0]: must be a method such as GET'],
  [rule('match: {host: "a:80"}'), 'rules[0].match.host[0]: must be a host without a port, such as api.example.com or *.example.com'],
  [rule('match: {headers: {a: 1}}'), 'rules[0].match.headers.a: must be text, or true for any value'],
  [rule('missingStatus: 404'), 'rules[0].missingStatus: must be 401 or 403'],
  [rule('limitStatus: 403'), 'rules[0].limitStatus: must be 402 or 429'],
  [rule('idempotencyKey: a'), 'rules[0].idempotencyKey.constant: must not be set: all requests would count as one use'],
  [
    '{defaults: {tenant: a, storefront: b, customer: c}, rules: [{name: r, action: check, entitlement: e, idempotencyKey: {header: a}}]}',
    'rules[0].idempotencyKey: must not be set, for the action check counts nothing',
  ],
]
for (const [written, ...expected] of mistakes) {
  test(`a mistake is named by its place: ${written}`, (t) => {
    t.deepEqual(mistakesOf(written), expected)
  })
}

const request = (target: string, more: Partial<Omit<GatewayRequest, 'headers'>> & { headers?: Record<string, string> } = {}): GatewayRequest => ({
  ...{ method: 'GET', host: 'api.example.com', target, claim: () => undefined, context: () => undefined },
  ...more,
  headers: new Map(Object.entries({ 'x-version': '2', 'x-any': '', ...more.headers })),
})
const found = (written: string, asked: GatewayRequest): string | undefined => {
  const rules = readRules(written)
  const target = readTarget(asked.target, rules.paths)
  if ('ambiguous' in target) return target.ambiguous
  const matched = ruleFor(rules, asked, target)
  return typeof matched === 'object' ? matched.rule.name : matched
}

test('a rule is for a request if all that it names is so', (t) => {
  t.is(found(whole, request('/healthz')), 'health')
  t.is(found(whole, request('/v1/reports/42?x=y')), 'reports')
  for (const host of ['API.Example.com:8443', 'a.b.example.org', 'api.example.com.']) t.is(found(whole, request('/v1/reports/42', { host })), 'reports', host)
  for (const host of ['example.org', 'badexample.org', 'api.example.com.evil', '']) t.is(found(whole, request('/v1/reports/42', { host })), undefined, host)
  t.is(found(whole, request('/v1/reports/42', { method: 'HEAD' })), 'reports', 'HEAD is GET without the body')
  t.is(found(whole, request('/v1/reports/42', { method: 'POST' })), undefined)
  t.is(found(whole, request('/v1/reports/42', { headers: { 'x-version': '3' } })), undefined)
  t.is(found(whole, request('/v1/x/calls', { method: 'PATCH' })), 'calls')
})

test('the first rule counts, and a path that is nearly its own is for no other', (t) => {
  const rules = '{rules: [{name: one, match: {path: /v1/a}, action: deny}, {name: all, match: {path: "/{rest...}"}, action: allow}]}'
  t.is(found(rules, request('/v1/a')), 'one')
  t.is(found(rules, request('/v1/b')), 'all')
  for (const near of ['/v1/A', '/v1/a/', '/V1/a']) t.is(found(rules, request(near)), 'nearly', near)
  const both = '{rules: [{name: one, match: {path: [/v1/a, /v1/a/]}, action: deny}]}'
  t.is(found(both, request('/v1/a/')), 'one')
})

test('two readings of one path are for one rule, or are refused', (t) => {
  const word = fc.constantFrom('a', 'A', 'b', 'B', 'v1', '{x}')
  const template = fc
    .tuple(fc.array(word, { minLength: 1, maxLength: 3 }), fc.constantFrom('', '/', '/{rest...}'))
    .map(([words, end]) => `/${words.map((one, n) => (one === '{x}' ? `{x${n}}` : one)).join('/')}${end}`)
  const path = fc
    .tuple(fc.array(fc.constantFrom('a', 'A', 'b', 'B', 'v1', 'V1'), { minLength: 1, maxLength: 4 }), fc.constantFrom('', '/'))
    .map(([words, end]) => `/${words.join('/')}${end}`)
  fc.assert(
    fc.property(fc.array(template, { minLength: 1, maxLength: 4 }), path, (templates, target) => {
      const rules = JSON.stringify({ rules: templates.map((one, n) => ({ name: `r${n}`, match: { path: one }, action: 'deny' })) })
      const asRead = (reading: string) => found(rules, request(reading))
      const first = asRead(target)
      const slash = target.endsWith('/') ? target.slice(0, -1) : `${target}/`
      for (const reading of [target.toLowerCase(), target.toUpperCase(), slash, slash.toLowerCase()]) {
        const other = asRead(reading)
        t.true(first === other || first === 'nearly' || other === 'nearly', `${target}: ${first}; ${reading}: ${other}; ${templates}`)
      }
    }),
    { numRuns: 500 },
  )
})

test('a value is one thing, or it is not there', (t) => {
  const asked = request('/?one=1&two=a&two=b&none=', {
    headers: { 'x-customer': 'anna', empty: '' },
    claim: (payload, path) => (payload === undefined && path.join('.') === 'sub' ? 'carl' : path[0] === 'n' ? 42 : path[0] === 'list' ? ['carl'] : undefined),
    context: (name) => (name === 'tenant' ? 'acme' : undefined),
  })
  const target = readTarget(asked.target, { encodedSlashes: 'keep', semicolons: 'refuse' })
  if (!('path' in target)) throw new Error(target.ambiguous)
  const read = (source: Source) => valueIn(source, asked, target, { id: 'a%2Fb' })
  t.is(read({ constant: 'x' }), 'x')
  t.is(read({ header: 'x-customer' }), 'anna')
  t.is(read({ header: 'empty' }), undefined)
  t.is(read({ header: 'empty', default: 'nobody' }), 'nobody')
  t.is(read({ path: 'id' }), 'a/b', 'as the application decodes it')
  t.is(read({ query: 'one' }), '1')
  t.is(read({ query: 'two' }), undefined, 'applications differ in which of two they take')
  t.is(read({ query: 'none' }), undefined)
  t.is(read({ claim: ['sub'] }), 'carl')
  t.is(read({ claim: ['n'] }), '42')
  t.is(read({ claim: ['list'] }), undefined)
  t.is(read({ context: 'tenant' }), 'acme')
})

test('the rules of the documentation and the examples are rules', (t) => {
  const documented = [...readFileSync('docs/gateways.md', 'utf8').matchAll(/```yaml\n(.*?)```/gs)].map(([, written]) => written ?? '')
  const examples = globSync('examples/*/rules.yaml').map((path) => readFileSync(path, 'utf8'))
  t.deepEqual([documented.length, examples.length], [1, 4])
  for (const written of [...documented, ...examples]) t.true(readRules(written).rules.length >= 3)
})
