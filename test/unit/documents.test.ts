/** What comments and documents name exists, so that nobody is sent to a file that was moved. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { glob } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { parseSync } from 'oxc-parser'

const root = fileURLToPath(new URL('../..', import.meta.url))
const read = (file: string): string => readFileSync(join(root, file), 'utf8')
const filesLike = async (pattern: string): Promise<string[]> => {
  const found: string[] = []
  for await (const file of glob(pattern, { cwd: root, exclude: (name) => name === 'node_modules' || name === 'data' })) found.push(file)
  return found
}

const sources = (await filesLike('{all-in-one,bench,cli,common,control-plane,psp-simulator,sidecar,test}/**/*.ts')).sort()
const documents = (await filesLike('{*.md,docs/**/*.md}')).sort()

/** Words that are a path with a folder in it. What has a wildcard or a variable, or begins with a slash, is none. */
const pathsIn = (text: string): string[] => [...text.matchAll(/(?<![\w./@$:{*-])(?:[\w-]+\/)+[\w.-]*\w\.(?:ts|md|json|sh|yml|proto)\b/g)].map(([path]) => path)

/** A path may be said from the root, from a process's folder, or from any folder above the file that says it. */
const exists = (path: string, from: string): boolean => {
  const places = ['.', 'control-plane', 'sidecar']
  for (let folder = dirname(from); folder !== '.'; folder = dirname(folder)) places.push(folder)
  return places.some((place) => existsSync(join(root, place, path)))
}

const missing: { comments: string[]; documents: string[]; scripts: string[] } = { comments: [], documents: [], scripts: [] }
let seen = 0
const look = (text: string, file: string, into: string[]) => {
  for (const path of pathsIn(text)) {
    seen += 1
    if (!exists(path, file)) into.push(`${file} names ${path}`)
  }
}
for (const file of sources) for (const { value } of parseSync(file, read(file)).comments) look(value, file, missing.comments)
for (const file of documents) {
  // What a changelog names was there once.
  if (file === 'CHANGELOG.md') continue
  look(read(file), file, missing.documents)
  for (const [, link = ''] of read(file).matchAll(/\]\((?!https?:)([^)#\s]+)/g))
    if (!existsSync(join(root, dirname(file), link))) missing.documents.push(`${file} links to ${link}`)
}
const { scripts } = JSON.parse(read('package.json'))
for (const file of [...sources, ...documents])
  for (const [, name = ''] of read(file).matchAll(/npm run (?:-s |--silent )?([\w:-]*\w)/g))
    if (!(name in scripts)) missing.scripts.push(`${file}: npm run ${name}`)

test('every path that a comment or a document names exists', (t) => {
  t.true(seen > 100, `${seen}`)
  t.deepEqual(missing.comments, [])
  t.deepEqual(missing.documents, [])
})

test('every npm script that a comment or a document names exists', (t) => t.deepEqual(missing.scripts, []))

test('decisions have one form, and their list has each by its title', (t) => {
  const list = read('docs/decisions/README.md')
  for (const name of readdirSync(join(root, 'docs/decisions')).filter((file) => file !== 'README.md')) {
    const [title = '', blank, status] = read(`docs/decisions/${name}`).split('\n')
    const [, number, words] = /^# (\d{4}): (.+)$/.exec(title) ?? []
    t.is(number, name.slice(0, 4), name)
    t.is(blank, '')
    t.regex(status ?? '', /^(Accepted|Replaced by \d{4}), \d{4}-\d\d-\d\d\.( Changed, \d{4}-\d\d-\d\d\.)*$/, name)
    t.true(list.includes(`| [${number}](${name}) | ${words} | ${/\d{4}-\d\d-\d\d/.exec(status ?? '')?.[0]} |`), `${name} in README.md`)
    t.is(read(`docs/decisions/${name}`).match(/^# /gm)?.length, 1, name)
  }
})

test('CONTRIBUTING names every folder of tests and every benchmark', (t) => {
  const text = read('CONTRIBUTING.md')
  for (const folder of readdirSync(join(root, 'test'))) t.true(text.includes(`| test/${folder} |`), folder)
  for (const script of Object.keys(JSON.parse(read('package.json')).scripts))
    if (script.startsWith('bench:')) t.true(text.includes(`\`npm run ${script}\``), script)
})

test('the map of the architecture names every folder of both processes', (t) => {
  const map = /## Where things are\n\n```\n([\s\S]*?)```/.exec(read('docs/architecture.md'))?.[1] ?? ''
  for (const process of ['control-plane', 'sidecar']) {
    const inside = sources.filter((file) => file.startsWith(`${process}/`)).map((file) => relative(process, dirname(file)).split('/')[0] ?? '')
    for (const folder of new Set(inside)) if (folder !== '') t.true(map.includes(`${folder}/`), `${process}/${folder}`)
  }
})
