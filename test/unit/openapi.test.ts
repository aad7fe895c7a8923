/** What clients are made from: the OpenAPI document says everything that a call takes and is answered. */
import test from 'ava'
import examples from '../../control-plane/http/examples.json' with { type: 'json' }
import { openApiDocument } from '../../control-plane/http/openapi.ts'
import { operationId } from '../../control-plane/http/operation-id.ts'
import { routes } from '../../control-plane/http/routes/index.ts'
import { brokenRules, readSentences } from '../support/prose.ts'

interface Header {
  $ref: string
}
interface Operation {
  operationId?: string
  summary?: string
  description?: string
  tags?: string[]
  parameters?: { name: string; in: string }[]
  requestBody?: { required?: boolean }
  responses: Record<string, { $ref?: string; headers?: Record<string, Header>; content?: Record<string, { example?: unknown }> }>
}

const document = JSON.parse(JSON.stringify(openApiDocument(routes)))
const operations = Object.entries(document.paths as Record<string, Record<string, Operation>>).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ at: `${method} ${path}`, method, path, operation })),
)
const find = (at: string): Operation => {
  const found = operations.find((one) => one.at === at)
  if (!found) throw new Error(`${at} is not in the document`)
  return found.operation
}
const headerNames = ({ parameters = [] }: Operation) => parameters.filter((parameter) => parameter.in === 'header').map(({ name }) => name)
const headersOf = (operation: Operation, status: number): string[] => {
  const response = operation.responses[status]
  const whole = response?.$ref ? document.components.responses[response.$ref.split('/').at(-1) ?? ''] : response
  return Object.keys(whole?.headers ?? {})
}

test('every operation has a name of its own, that a program can have', (t) => {
  const names = operations.map(({ operation }) => operation.operationId ?? '')
  for (const name of names) t.regex(name, /^[a-z][A-Za-z0-9]+$/)
  t.deepEqual(
    names.filter((name, n) => names.indexOf(name) !== n),
    [],
  )
})

/** What a summary begins with: a caller looks for what to do. A new verb is welcome; a noun is not. */
const VERBS =
  'Accept Add Cancel Change Complete Correct Create End Erase Export Finish Give Import Invite List Move Pause Pay Preview Read Receive Record Refund Register Remove Rename Replace Replay Report Resume Revoke Send Set Sign Simulate Start Subscribe Take Undo'.split(
    ' ',
  )
const MOST_WORDS = 8

test('every summary is a short command, and what else there is to say are one to four plain sentences', (t) => {
  for (const { at, operation } of operations) {
    const words = operation.summary?.split(' ') ?? []
    t.true(VERBS.includes(words[0] ?? ''), `${at} begins with ${words[0]}`)
    t.true(words.length >= 2 && words.length <= MOST_WORDS, `${at}: ${words.length} words`)
    t.notRegex(operation.summary ?? '', /[;:,.()]/, at)
  }
  for (const { method, path, description } of routes) {
    if (description === undefined) continue
    const sentences = readSentences(description)
    t.true(sentences.length >= 1 && sentences.length <= 4, `${method} ${path}: ${sentences.length} sentences`)
    for (const { text } of sentences) t.deepEqual([...brokenRules(text), ...(/^[A-Z].*\.$/.test(text) ? [] : ['is not a sentence'])], [], text)
    t.true(find(`${method} ${path}`).description?.startsWith(`${description}\n\n`), `${method} ${path}`)
  }
})

test('every operation is in one group of those that are told of', (t) => {
  const known = (document.tags as { name: string; description: string }[]).map(({ name }) => name)
  for (const { at, operation } of operations) {
    t.deepEqual(
      operation.tags?.map((tag) => known.includes(tag)),
      [true],
      at,
    )
  }
  t.is(new Set(routes).size, routes.length)
})

test("an operation's name follows from the method and the path", (t) => {
  t.is(operationId('get', '/v1/storefronts/{storefront}/customers'), 'getStorefrontCustomers')
  t.is(operationId('patch', '/v1/storefronts/{storefront}/customers/{customer}'), 'patchStorefrontCustomer')
  t.is(operationId('post', '/v1/subscriptions/{subscription}/preview-change'), 'postSubscriptionPreviewChange')
  t.is(operationId('get', '/v1/policies/{policy}'), 'getPolicy')
  t.is(operationId('get', '/openapi.json'), 'getOpenapiJson')
})

test('the document lists the headers that a call takes', (t) => {
  t.deepEqual(headerNames(find('get /v1/payments')), ['x-tn'])
  t.true(headerNames(find('patch /v1/storefronts/{storefront}')).includes('If-Match'))
  t.true(headerNames(find('post /v1/payments')).includes('Idempotency-Key'))
  t.false(headerNames(find('post /v1/payments')).includes('If-Match'))
  // Its answer is not kept for repeats.
  t.false(headerNames(find('post /v1/settlement-reports/{report}/csv')).includes('Idempotency-Key'))
  t.deepEqual(headerNames(find('post /v1/webhooks/psp/{tenant}/{account}')), [])
})

test('the document lists the headers that an answer has', (t) => {
  for (const { at, operation } of operations) {
    for (const status of Object.keys(operation.responses).filter((status) => status !== 'default'))
      t.true(headersOf(operation, Number(status)).includes('X-Request-Id'), `${at} ${status}`)
  }
  const payment = find('post /v1/payments')
  t.deepEqual(headersOf(payment, 201), ['X-Request-Id', 'ETag', 'Idempotent-Replayed', 'RateLimit', 'RateLimit-Policy'])
  t.deepEqual(headersOf(payment, 429), ['X-Request-Id', 'RateLimit', 'RateLimit-Policy', 'Retry-After'])
  t.deepEqual(headersOf(payment, 401), ['X-Request-Id', 'WWW-Authenticate'])
  t.true(headersOf(payment, 503).includes('Retry-After'))
  t.false(headersOf(find('get /v1/payments'), 200).includes('ETag'))
})

test('a body may be left out where {} says as much', (t) => {
  t.is(find('patch /v1/subscriptions/{subscription}').requestBody?.required, false)
  t.is(find('post /v1/subscriptions/{subscription}/resume').requestBody?.required, false)
  t.is(find('post /v1/subscriptions').requestBody?.required, true)
})

test('the document lists the failures that a route can have', (t) => {
  const statuses = (at: string) => Object.keys(find(at).responses)
  t.deepEqual(statuses('get /v1/payments'), ['200', '400', '401', '403', '404', '409', '429', '431', '503', 'default'])
  for (const status of ['409', '412', '413', '415']) t.true(statuses('patch /v1/storefronts/{storefront}').includes(status), status)
  t.false(statuses('post /v1/tenants').includes('404'))
})

test('the document lists the codes of those failures', (t) => {
  const codes = (at: string, status: number): string[] => {
    const name = find(at).responses[status]?.$ref?.split('/').at(-1) ?? ''
    return document.components.responses[name].content['application/problem+json'].schema.allOf[1].properties.code.enum
  }
  t.deepEqual(codes('get /v1/payments', 409), ['not_allowed_in_state'])
  t.deepEqual(codes('post /v1/storefronts', 409), ['already_exists', 'idempotency_in_progress', 'not_allowed_in_state', 'revision_conflict'])
  t.deepEqual(codes('post /v1/subscriptions', 422), ['idempotency_key_reused', 'no_eligible_psp', 'set_too_large', 'unknown_reference'])
  t.is(find('patch /v1/storefronts/{storefront}').responses[422], undefined)
})

test('no named schema may be null: nullable fields say so where they are used', (t) => {
  for (const [name, { type }] of Object.entries(document.components.schemas as Record<string, { type?: string | string[] }>))
    t.false(Array.isArray(type) && type.includes('null'), name)
})

test('operations have examples, which match their schemas and show no secret', (t) => {
  const text = JSON.stringify(examples)
  t.notRegex(text, /(?:tgp|tg_live|tg_test)_[A-Za-z0-9]{8,}/)
  const recorded = examples as Record<string, { request?: unknown; answer?: unknown }>
  const names = operations.map(({ operation }) => operation.operationId)
  for (const name of Object.keys(recorded)) t.true(names.includes(name), name)
  let [requests, answers] = [0, 0]
  for (const route of routes) {
    const { request, answer } = recorded[operationId(route.method, route.path)] ?? {}
    if (request !== undefined && route.body) {
      requests += 1
      t.true(route.body.safeParse(request).success, `${route.method} ${route.path}: request`)
    }
    if (answer !== undefined && route.answer) {
      answers += 1
      t.true(route.answer.safeParse(answer).success, `${route.method} ${route.path}: answer`)
      const said = find(`${route.method} ${route.path}`).responses[route.status]?.content?.['application/json']
      t.deepEqual(said?.example, answer)
    }
  }
  t.true(requests > 30 && answers > 70, `${requests} requests, ${answers} answers`)
})
