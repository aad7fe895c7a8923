/**
 * Schemathesis (https://schemathesis.readthedocs.io), which makes requests from an OpenAPI document, right ones and wrong ones,
 * and holds the answers against it. It is looked for in SCHEMATHESIS; `.ci/run` installs it.
 */
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

/** How often an id that is there is taken rather than one that is made up. */
const REAL_IDS = 0.85

/** What it holds against an answer. What it would rather have had accepted or refused is a matter of taste: JSON Schema cannot say all of our rules. */
const checks = [
  'not_a_server_error',
  'status_code_conformance',
  'content_type_conformance',
  'response_headers_conformance',
  'response_schema_conformance',
  'unsupported_method',
  'ignored_auth',
]

/** By parameter (`path.customer`) or field of a body (`body.customerId`), what is there for it. */
export type FuzzValues = Record<string, readonly (string | number)[]>

export interface FuzzOptions {
  /** Of the server. */
  url: string
  key: string
  values: FuzzValues
  /** By operation, what is there for it alone. */
  valuesOf?: Record<string, FuzzValues>
  /** Options that choose operations: none for all. */
  only?: string[]
  /** Parameters that are not sent. */
  without?: string[]
  seconds: number
  seed: number
}

export interface FuzzReport {
  /** Everything it printed. */
  output: string
  /** `completed` and `max_time` are as it should be. */
  stop_reason: string
  operations: { total: number; selected: number; tested: number; errored: number }
  test_cases: { generated: number; with_failures: number; errored: number }
  failures: { title: string; count: number; operations: string[] }[]
  errors: { title: string; count: number }[]
}

/** JSON's strings and lists are TOML's, too. */
const toml = (values: FuzzValues, valuesOf: Record<string, FuzzValues>): string => {
  const dictionaries: string[] = []
  const parametersOf = (of: FuzzValues): string =>
    Object.entries(of)
      .map(([name, list]) => {
        const dictionary = JSON.stringify(`values-${dictionaries.length}`)
        dictionaries.push(`[dictionaries.${dictionary}]\nvalues = ${JSON.stringify(list)}\n`)
        return `${JSON.stringify(name)} = { dictionary = ${dictionary}, probability = ${REAL_IDS} }`
      })
      .join('\n')
  const everywhere = `[parameters]\n${parametersOf(values)}\n`
  const single = Object.entries(valuesOf).map(
    ([operationId, of]) => `[[operations]]\ninclude-operation-id = ${JSON.stringify(operationId)}\n[operations.parameters]\n${parametersOf(of)}\n`,
  )
  return [...dictionaries, everywhere, ...single].join('\n')
}

interface Operation {
  parameters?: { name: string }[]
  responses: Record<string, unknown>
}

/**
 * The document without what would have it find nothing: a status that only `default` speaks of is one that is not told, and
 * what comes with a parameter that is refused at the door is not seen.
 */
const documentOf = async (url: string, without: readonly string[]): Promise<object> => {
  const document = (await (await fetch(`${url}/openapi.json`)).json()) as { paths: Record<string, Record<string, Operation>> }
  for (const operation of Object.values(document.paths).flatMap((methods) => Object.values(methods))) {
    delete operation.responses.default
    operation.parameters = operation.parameters?.filter(({ name }) => !without.includes(name)) ?? []
  }
  return document
}

/** @param program the path of `schemathesis`. */
export const fuzz = async (program: string, { url, key, values, valuesOf = {}, only = [], without = [], seconds, seed }: FuzzOptions): Promise<FuzzReport> => {
  await using stack = new AsyncDisposableStack()
  const dir = await mkdtemp(join(tmpdir(), 'tollgate-schemathesis-'))
  stack.defer(() => rm(dir, { recursive: true, force: true }))
  const path = { document: join(dir, 'openapi.json'), config: join(dir, 'schemathesis.toml'), report: join(dir, 'report.json') }
  await writeFile(path.document, JSON.stringify(await documentOf(url, without)))
  await writeFile(path.config, toml(values, valuesOf))
  const options = [
    ...['--url', url],
    ...['--header', `Authorization: Bearer ${key}`],
    ...['--checks', checks.join(',')],
    // After one pass over everything it goes on until the time is over.
    ...['--max-time', String(seconds)],
    ...['--seed', String(seed)],
    ...['--generation-database', 'none'],
    ...['--report-json-path', path.report],
    ...['--no-color', '--continue-on-failure'],
    ...only,
  ]
  const run = promisify(execFile)(program, ['--config-file', path.config, 'run', path.document, ...options], {
    cwd: dir,
    maxBuffer: 256 * 2 ** 20,
    env: { ...process.env, PYTHONHASHSEED: '0' },
  })
  // It ends with 1 when it has found something: the report says what.
  const { stdout, stderr } = await run.catch((error: { stdout: string; stderr: string }) => error)
  const output = `${stdout}${stderr}`
  const text = await readFile(path.report, 'utf8').catch(() => {
    throw new Error(`Schemathesis left no report: ${output}`)
  })
  return { ...JSON.parse(text), output }
}
