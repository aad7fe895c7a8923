/**
 * Every answer that a test sees, held against the OpenAPI document of who gave it: its status, its type and its body.
 * What the document does not say, clients that are made from it do not understand; a field that it does not name is one of them.
 */
import { isDeepStrictEqual } from 'node:util'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'
import { routes } from '../../control-plane/http/routes/index.ts'
import type { HttpAnswer } from './http-client.ts'

interface Schemas {
  [name: string]: unknown
}
interface Responses {
  [status: string]: { $ref?: string; content?: Record<string, { schema: object }> }
}
interface Document {
  paths: Record<string, Record<string, { responses: Responses }>>
  components: { responses: Responses; schemas: Schemas }
}

type Check = (method: string, path: string, answer: HttpAnswer) => void

const matcher = (path: string): RegExp => new RegExp(`^${path.replaceAll('.', '\\.').replaceAll(/\{\w+\}/g, '[^/]+')}$`)

const checkOf = (document: Document): Check => {
  // Quick to compile: stand-ins of providers in this process must not be kept waiting. What the document is made by is sound.
  const ajv = new Ajv2020({ strict: false, validateSchema: false, meta: false, inlineRefs: false, code: { optimize: false } })
  formats.default(ajv)
  ajv.addSchema(document, 'document')
  const validators = new Map<string, ValidateFunction>()
  const validatorOf = (pointer: string): ValidateFunction => {
    const known = validators.get(pointer) ?? ajv.compile({ $ref: `document#${pointer}` })
    validators.set(pointer, known)
    return known
  }
  const paths = Object.keys(document.paths).map((path) => ({ path, pattern: matcher(path) }))
  const escaped = (part: string): string => encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1'))

  return (method, target, answer) => {
    const asked = target.split('?')[0] ?? ''
    const path = paths.find(({ pattern }) => pattern.test(asked))?.path
    const operation = path === undefined ? undefined : document.paths[path]?.[method.toLowerCase()]
    // What there is nothing at, or no such method, is in no document.
    if (path === undefined || !operation) return
    const fail = (what: string): never => {
      throw new Error(`${method} ${target} was answered against its document: ${what}: ${JSON.stringify(answer.body)}`)
    }
    const direct = operation.responses[answer.status] ?? fail(`status ${answer.status} is not in it`)
    const name = direct.$ref?.split('/').at(-1)
    const said = name === undefined ? direct : document.components.responses[name]
    const type = answer.headers.get('content-type')?.split(';')[0]
    if (said?.content === undefined) return answer.body === undefined ? undefined : fail('it has a body')
    if (type === undefined || !said.content[type]) return fail(`it is ${type}, not ${Object.keys(said.content).join(', ')}`)
    const at = name === undefined ? ['paths', path, method.toLowerCase(), 'responses', String(answer.status)] : ['components', 'responses', name]
    const validate = validatorOf(`/${[...at, 'content', type, 'schema'].map(escaped).join('/')}`)
    if (!validate(answer.body)) fail(JSON.stringify(validate.errors))
    const route = routes.find((one) => one.path === path && one.method === method.toLowerCase())
    if (!route?.answer || answer.status !== route.status) return
    const known = route.answer.safeParse(answer.body)
    if (!known.success || !isDeepStrictEqual(known.data, answer.body)) fail(`it has more than its schema: ${JSON.stringify(known.data ?? known.error)}`)
  }
}

/** Control planes of one version say the same: its schemas are compiled once. */
const checks = new Map<string, Check>()
const checksByBase = new Map<string, Promise<Check | undefined>>()

const fetchCheck = async (base: string): Promise<Check | undefined> => {
  try {
    const text = await (await fetch(`${base}/openapi.json`, { signal: AbortSignal.timeout(10_000) })).text()
    const check = checks.get(text) ?? checkOf(JSON.parse(text))
    checks.set(text, check)
    return check
  } catch {
    // It has gone, or is something else: another call may find it.
    checksByBase.delete(base)
    return undefined
  }
}

/** @throws Error, for an answer that is not as the document has it. */
export const checkDocumented = async (base: string, method: string, path: string, answer: HttpAnswer): Promise<void> => {
  const pending = checksByBase.get(base) ?? fetchCheck(base)
  checksByBase.set(base, pending)
  const check = await pending
  check?.(method, path, answer)
}
