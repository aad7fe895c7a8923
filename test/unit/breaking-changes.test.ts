/** The comparison of the API with the released one: what breaks clients is found, and what does not is let through. */
import test from 'ava'
import { openApiDocument } from '../../control-plane/http/openapi.ts'
import { routes } from '../../control-plane/http/routes/index.ts'
import { breakingChanges } from '../api/breaking-changes.ts'

/** Those that the changes are made to: the whole takes seconds each time. */
const paths = ['/v1/caller', '/v1/payments', '/v1/payments/{payment}', '/v1/payments/{payment}/refund', '/v1/storefronts', '/v1/tenants']
const made = JSON.stringify(openApiDocument(routes.filter(({ path }) => paths.includes(path))))

// biome-ignore lint/suspicious/noExplicitAny: each change reaches into the document in its own way.
type Change = (document: any) => void

const cases: [what: string, change: Change, found: RegExp | undefined][] = [
  ['nothing', () => {}, undefined],
  ['an operation is removed', (document) => delete document.paths['/v1/payments/{payment}/refund'].post, /\/refund/],
  ['a path is removed', (document) => delete document.paths['/v1/caller'], /\/v1\/caller/],
  ['an operation has another name', (document) => (document.paths['/v1/caller'].get.operationId = 'whoAmI'), /getCaller → whoAmI/],
  [
    'a field of an answer is removed',
    (document) => delete document.components.schemas.Payment.properties.facts,
    /get \/v1\/payments\/\{payment\}: remove .*facts/,
  ],
  ['a field of an answer is renamed', ({ components: { schemas } }) => rename(schemas.Payment.properties, 'facts', 'marks'), /remove .*facts/],
  ['a field of an answer has another type', (document) => (document.components.schemas.Payment.properties.amount.type = 'string'), /integer → string/],
  ['a field of an answer may be null', (document) => (document.components.schemas.Payment.properties.id.type = ['string', 'null']), /properties\/id\/type/],
  ['a field of an answer may be missing', (document) => document.components.schemas.Payment.required.shift(), /remove .*required/],
  ['a request needs a new field', (document) => document.components.schemas.NewStorefront.required.push('timeZone'), /post \/v1\/storefronts.*required/],
  ['a request loses a field', (document) => delete document.components.schemas.NewStorefront.properties.region, /remove .*region/],
  ['a field of a request takes fewer values', (document) => document.components.schemas.NewTenant.properties.mode.enum.pop(), /mode\/enum/],
  ['a field of a request has another type', (document) => (document.components.schemas.NewPayment.properties.amount.type = 'string'), /amount\/type/],
  ['a parameter is needed', (document) => (findParameter(document, 'status').required = true), /parameters/],
  ['a parameter is removed', (document) => removeParameter(document, 'status'), /parameters/],
  ['an operation is new', (document) => (document.paths['/v1/new'] = document.paths['/v1/caller']), undefined],
  ['an answer has a new field', (document) => add(document.components.schemas.Payment, 'colour'), undefined],
  ['a field of an answer has a new value', (document) => document.components.schemas.Tenant.properties.mode.enum.push('trial'), undefined],
  ['a request has a new field that may be left out', (document) => (document.components.schemas.NewPayment.properties.colour = { type: 'string' }), undefined],
  ['a field of a request takes a new value', (document) => document.components.schemas.NewTenant.properties.mode.enum.push('trial'), undefined],
  ['it is told in other words', (document) => (document.paths['/v1/caller'].get.summary = 'Whose key it is'), undefined],
  ['a code is not refused with any more', (document) => delete document.paths['/v1/caller'].get.responses[403], undefined],
]

const rename = (fields: Record<string, unknown>, from: string, to: string) => {
  fields[to] = fields[from]
  delete fields[from]
}
const add = (schema: { properties: object; required: string[] }, field: string) => {
  Object.assign(schema.properties, { [field]: { type: 'string' } })
  schema.required.push(field)
}
const parametersOf: (document: Parameters<Change>[0]) => { name: string; required?: boolean }[] = (document) => document.paths['/v1/payments'].get.parameters
const findParameter = (document: Parameters<Change>[0], name: string) => parametersOf(document).find((one) => one.name === name) ?? { name }
const removeParameter = (document: Parameters<Change>[0], name: string) => {
  const parameters = parametersOf(document)
  parameters.splice(
    parameters.findIndex((one) => one.name === name),
    1,
  )
}

for (const [what, change, found] of cases) {
  test(what, (t) => {
    const [released, present] = [JSON.parse(made), JSON.parse(made)]
    change(present)
    const changes = breakingChanges(released, present).join('\n')
    if (found) t.regex(changes, found)
    else t.is(changes, '')
  })
}
