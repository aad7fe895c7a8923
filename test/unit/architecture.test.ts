/** Imports run one way. The folders are the architecture; this keeps them so. */
import { readFileSync } from 'node:fs'
import { glob } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { parseSync } from 'oxc-parser'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** What files under a folder may import, besides packages and their own folder. The longest prefix counts. */
const allowed: [folder: string, imports: string[]][] = [
  ['proto/gen', []],
  ['common', ['proto/gen']],
  ['sidecar', ['common', 'proto/gen']],
  ['client', ['common', 'proto/gen']],
  ['psp-simulator', ['common']],
  ['control-plane', ['common']],
  ['control-plane/compose.ts', ['common', 'control-plane', 'psp-simulator']],
  ['all-in-one', ['common', 'control-plane', 'sidecar']],
  ['cli', ['common', 'proto/gen']],
]

/** Inside the control plane: http → capabilities → ports. Only compose.ts knows adapters. */
const capabilities = [
  'access',
  'audit',
  'billing',
  'catalog',
  'customers',
  'entitlements',
  'payments',
  'people',
  'subscriptions',
  'engine',
  'work',
  'worker',
].map((name) => `control-plane/${name}`)
/** The PSP port stands with the adapters that implement it. */
const pspPort = 'control-plane/payments/psp/psp.ts'
const ground = [pspPort, ...['schemas', 'storage', 'ports.ts', 'tenant-scope.ts', 'work-time.ts', 'keys.ts'].map((name) => `control-plane/${name}`)]
const adapters = [
  'control-plane/storage/sqlite.ts',
  'control-plane/storage/mongo/storage.ts',
  ...['simulator', 'stripe', 'adyen', 'paypal', 'mercadopago', 'local'].map((provider) => `control-plane/payments/psp/${provider}`),
  'common/feed/nats/feed.ts',
  'common/feed/in-process.ts',
]
const mayImportAdapters = ['control-plane/compose.ts', 'sidecar/main.ts', ...adapters]

const importsOf = (file: string): string[] => {
  const { module } = parseSync(file, readFileSync(join(root, file), 'utf8'))
  const specifiers = [
    ...module.staticImports.map((one) => one.moduleRequest.value),
    ...module.staticExports.flatMap((one) => one.entries.flatMap((entry) => entry.moduleRequest?.value ?? [])),
  ]
  return specifiers.filter((specifier) => specifier.startsWith('.')).map((specifier) => relative(root, join(root, dirname(file), specifier)))
}

/** Names that a file declares and exports; one that it only passes on is declared elsewhere. */
const exportsOf = (file: string): Set<string> => {
  const { module } = parseSync(file, readFileSync(join(root, file), 'utf8'))
  const own = module.staticExports.flatMap(({ entries }) => entries).filter(({ moduleRequest }) => moduleRequest === null)
  return new Set(own.flatMap(({ exportName }) => exportName.name ?? []))
}

const files: string[] = []
for await (const file of glob('{proto/gen,common,sidecar,client,psp-simulator,control-plane,all-in-one,cli}/**/*.ts', {
  cwd: root,
  exclude: ['client/dist/**'],
}))
  files.push(file)
const edges = files.flatMap((from) => importsOf(from).map((to) => ({ from, to })))
const under = (file: string, folder: string): boolean => file === folder || file.startsWith(`${folder}/`)

test('the test finds files and imports to check', (t) => {
  t.true(files.length > 150)
  t.true(edges.length > 200)
})

test('each process imports only what is below it', (t) => {
  for (const { from, to } of edges) {
    const [folder, imports] = allowed.filter(([name]) => under(from, name)).toSorted((a, b) => b[0].length - a[0].length)[0] ?? ['', []]
    t.true(under(to, folder) || imports.some((name) => under(to, name)), `${from} imports ${to}`)
  }
})

test('capabilities know nothing of HTTP, and schemas, storage and ports nothing of capabilities', (t) => {
  for (const { from, to } of edges) {
    if (capabilities.some((folder) => under(from, folder))) t.false(under(to, 'control-plane/http'), `${from} imports ${to}`)
    if (ground.some((folder) => under(from, folder)) && to !== pspPort) {
      t.false(
        [...capabilities, 'control-plane/http'].some((folder) => under(to, folder)),
        `${from} imports ${to}`,
      )
    }
  }
})

/** Floors of the control plane, the ground first: a room imports rooms on floors below its own, and of its own floor. Those that end a customer or a tenant stand beside them. */
const floors = [['billing'], ['payments', 'entitlements'], ['engine'], ['subscriptions'], ['work'], ['worker', 'http']]

test('commands end in the engine, and only the places that start processes import the worker', (t) => {
  const floorOf = (file: string): number => floors.findIndex((rooms) => rooms.some((room) => under(file, `control-plane/${room}`)))
  for (const { from, to } of edges) {
    if (under(to, 'control-plane/worker') && !under(from, 'control-plane/worker')) {
      t.true(['control-plane/compose.ts', 'control-plane/confirm-clock.ts'].includes(from), `${from} imports ${to}`)
    }
    // The machine is pure, and belongs to all who decide by it.
    if (under(to, 'control-plane/subscriptions/machine') || floorOf(to) < 0 || floorOf(from) < 0) continue
    t.true(floorOf(to) <= floorOf(from), `${from} imports ${to}`)
  }
})

/** Business of a tenant gets its share of the ports and its own ids. These few serve whoever has no tenant yet, or all of them. */
const ofAllTenants = [
  'catalog/tenants.ts',
  'catalog/installation.ts',
  'catalog/storefronts.ts',
  'entitlements/explain.ts',
  'entitlements/keep-feed.ts',
  'entitlements/publish-entitlements.ts',
  'entitlements/republish.ts',
  'payments/webhooks/receive-webhook.ts',
  'work/do-work.ts',
]

test('business of a tenant cannot name another tenant', (t) => {
  const business = ['billing', 'catalog', 'customers', 'engine', 'entitlements', 'payments', 'subscriptions', 'work']
  for (const file of files.filter((one) => business.some((room) => under(one, `control-plane/${room}`)))) {
    if (ofAllTenants.some((one) => file === `control-plane/${one}`)) continue
    const source = readFileSync(join(root, file), 'utf8')
    t.notRegex(source, /\bServices\b/, file)
    t.notRegex(source, /^import \{[^}]*\bkeys\b[^}]*\} from/m, file)
  }
})

test('the machines decide from a document and a moment alone', (t) => {
  const pure = ['control-plane/subscriptions/machine', 'control-plane/payments/machine', 'control-plane/billing', 'common/entitlements']
  for (const { from, to } of edges) {
    if (!pure.some((folder) => under(from, folder))) continue
    t.false(
      ['control-plane/storage', 'control-plane/ports.ts', 'control-plane/tenant-scope.ts', 'common/feed'].some((folder) => under(to, folder)),
      `${from} imports ${to}`,
    )
  }
})

test("the sidecar's replica, policy and observers know nothing of the calls that ask for them", (t) => {
  for (const { from, to } of edges) {
    if (!['sidecar/observe', 'sidecar/replica', 'sidecar/policy'].some((folder) => under(from, folder))) continue
    t.false(
      ['sidecar/service', 'sidecar/transport', 'sidecar/workers'].some((folder) => under(to, folder)),
      `${from} imports ${to}`,
    )
  }
})

test('only the places that start processes choose adapters', (t) => {
  for (const { from, to } of edges) {
    if (!adapters.some((adapter) => under(to, adapter))) continue
    t.true(
      mayImportAdapters.some((place) => under(from, place)),
      `${from} imports ${to}`,
    )
  }
})

test('only the clock reads the system clock, and only the configuration reads the environment', (t) => {
  for (const file of files) {
    if (file.startsWith('proto/gen')) continue
    const source = readFileSync(join(root, file), 'utf8').replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*/g, '')
    if (file !== 'common/clock.ts' && !under(file, 'cli')) t.notRegex(source, /Date\.now\(|new Date\(\)/, file)
    if (file !== 'common/config.ts') t.notRegex(source, /process\.env/, file)
  }
})

/** Every provider's mapping has the same functions, one folder per provider: the folder is part of the name. */
const mappingNames = new Set(['toEvent', 'toOutcome', 'toRefundOutcome'])
const isMapping = (file: string): boolean => /^control-plane\/payments\/psp\/\w+\/mapping\.ts$/.test(file)

test('an exported name has one meaning: no two files export it', (t) => {
  const places = new Map<string, string[]>()
  for (const file of files.filter((one) => ['control-plane', 'common', 'sidecar'].some((folder) => under(one, folder)))) {
    for (const name of exportsOf(file)) if (!(isMapping(file) && mappingNames.has(name))) places.set(name, [...(places.get(name) ?? []), file])
  }
  t.true(places.size > 500)
  const twice = [...places].filter(([, exporting]) => exporting.length > 1)
  t.deepEqual(twice, [])
})

test('no folder imports itself in a circle', (t) => {
  const reaches = new Map<string, string[]>()
  for (const { from, to } of edges) reaches.set(from, [...(reaches.get(from) ?? []), to])
  const state = new Map<string, 'open' | 'done'>()
  const visit = (file: string, path: string[]): void => {
    if (state.get(file) === 'done') return
    t.not(state.get(file), 'open', `a circle: ${[...path, file].join(' → ')}`)
    if (state.get(file) === 'open') return
    state.set(file, 'open')
    for (const next of reaches.get(file) ?? []) visit(next, [...path, file])
    state.set(file, 'done')
  }
  for (const file of files) visit(file, [])
})
