/** The clients of docs/clients.md in Python and Go: their code is taken from there, generated as it says, and run. */
import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { marked } from 'marked'
import { findTool } from '../support/find-tool.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const run = promisify(execFile)

/** Programs, each with its arguments. */
export interface BuiltClient {
  folder: string
  /** The program of the docs. */
  main: string[]
  /** What runs cases by it. */
  adapter: string[]
}

export interface DocumentedClient {
  name: string
  /** Why it cannot be built here. */
  missing: string | undefined
  build(): Promise<BuiltClient>
}

interface Section {
  /** By name. */
  files: Map<string, string>
  commands: string[]
}

/** What stands under a heading: files, each with its name in the paragraph before, and commands of the shell. */
const sectionOf = (title: string): Section => {
  const section: Section = { files: new Map(), commands: [] }
  let [isIn, before] = [false, '']
  for (const token of marked.lexer(readFileSync(join(root, 'docs/clients.md'), 'utf8'))) {
    if (token.type === 'heading' && token.depth === 2) isIn = token.text === title
    if (!isIn) continue
    if (token.type === 'paragraph') before = token.text
    if (token.type !== 'code') continue
    const name = /`([\w.]+\.(?:py|go|yaml))`[^`]*$/.exec(before)?.[1]
    if (token.lang === 'sh') section.commands.push(...token.text.split('\n'))
    else if (name === undefined) throw new Error(`docs/clients.md: ${title}: a file without a name`)
    else section.files.set(name, token.text)
  }
  return section
}

const newFolder = () => realpathSync(mkdtempSync(join(tmpdir(), 'tollgate-documented-')))
const writeFiles = (folder: string, files: Map<string, string>, is: RegExp) => {
  for (const [name, text] of files) if (is.test(name)) writeFileSync(join(folder, name), `${text}\n`)
}
/** Runs the commands of the docs that match, with tools first on the PATH. */
const runCommands = async (commands: string[], is: RegExp, cwd: string, tools: string[], env: NodeJS.ProcessEnv = {}): Promise<void> => {
  const PATH = [...tools, process.env.PATH].join(delimiter)
  const chosen = commands.filter((command) => is.test(command))
  if (chosen.length === 0) throw new Error(`docs/clients.md has no command like ${is}`)
  for (const command of chosen) await run('bash', ['-euc', command], { cwd, env: { ...process.env, PATH, ...env } })
}

export const pythonWithGrpc = findTool('python-with-grpcio', 'PYTHON_WITH_GRPCIO', '--version')
export const protocGenGo = findTool('protoc-gen-go', 'PROTOC_GEN_GO', '--version')
export const protocGenGoGrpc = findTool('protoc-gen-go-grpc', 'PROTOC_GEN_GO_GRPC', '--version')
export const go = findTool('go', 'GO', 'version')
/** What the docs name by `go install`, and what the generated code needs beside it. */
const GO_MODULES = ['google.golang.org/grpc@v1.85.0', 'google.golang.org/protobuf@v1.36.12']

export const documentedClients: DocumentedClient[] = [
  {
    name: 'Python',
    missing: pythonWithGrpc ? undefined : 'PYTHON_WITH_GRPCIO does not name a Python with grpcio-tools',
    build: async () => {
      const { files, commands } = sectionOf('Python')
      const folder = newFolder()
      const python = pythonWithGrpc ?? ''
      symlinkSync(join(root, 'proto'), join(folder, 'proto'))
      await runCommands(commands, /^python /, folder, [dirname(python)])
      writeFiles(folder, files, /\.py$/)
      cpSync(join(root, 'test/conformance/adapter.py'), join(folder, 'adapter.py'))
      return { folder, main: [python, join(folder, 'main.py')], adapter: [python, join(folder, 'adapter.py')] }
    },
  },
  {
    name: 'Go',
    missing: go && protocGenGo && protocGenGoGrpc ? undefined : 'go, PROTOC_GEN_GO or PROTOC_GEN_GO_GRPC is not here',
    build: async () => {
      const { files, commands } = sectionOf('Go')
      const folder = newFolder()
      const [checkout, reports, adapter] = ['checkout', 'reports', 'adapter'].map((name) => join(folder, name)) as [string, string, string]
      mkdirSync(checkout)
      mkdirSync(reports)
      for (const name of ['buf.yaml', 'proto']) cpSync(join(root, name), join(checkout, name), { recursive: true })
      symlinkSync(join(root, 'node_modules'), join(checkout, 'node_modules'))
      writeFiles(checkout, files, /\.yaml$/)
      await runCommands(commands, /buf generate/, checkout, [dirname(protocGenGo ?? ''), dirname(protocGenGoGrpc ?? '')], { REPORTS: reports })
      writeFiles(reports, files, /\.go$/)
      const inReports = (...args: string[]) => run(go ?? '', args, { cwd: reports })
      await inReports('mod', 'init', 'example.com/reports')
      await inReports('mod', 'edit', ...GO_MODULES.flatMap((module) => ['-require', module]))
      await inReports('mod', 'tidy')
      await inReports('build', '-o', join(folder, 'main'), '.')
      cpSync(reports, adapter, { recursive: true })
      cpSync(join(root, 'test/conformance/adapter.go'), join(adapter, 'main.go'))
      await run(go ?? '', ['build', '-o', join(folder, 'adapted'), '.'], { cwd: adapter })
      return { folder, main: [join(folder, 'main')], adapter: [join(folder, 'adapted')] }
    },
  },
]
