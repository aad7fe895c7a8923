/** The alert rules and the dashboard, by Prometheus' own tool, and on the metrics that processes really have. */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { parse } from 'yaml'
import { eventually } from '../support/eventually.ts'
import { findTool } from '../support/find-tool.ts'
import { freePort } from '../support/free-port.ts'
import { openShop } from '../support/shop.ts'
import { worlds } from '../support/tollgate.ts'

/** The library that counts Node.js' own names gauges like counters. */
const ODDLY_NAMED = /^(# (HELP|TYPE) )?nodejs_active_(handles|requests|resources)_total\b/
/** Only storage on MongoDB has a pool. */
const OF_MONGODB = /^tollgate_storage_pool_/

const promtool = findTool('promtool', 'PROMTOOL', '--version')
const withTool = promtool ? test : test.skip
const titled = (title: string) => (promtool ? title : `${title} (promtool is not here)`)

const run = (args: string[], input = ''): Promise<{ code: number; said: string }> =>
  new Promise((resolve) => {
    const child = execFile(promtool ?? 'promtool', args, (error, stdout, stderr) => resolve({ code: error ? 1 : 0, said: `${stdout}${stderr}` }))
    child.stdin?.end(input)
  })

interface Rule {
  alert: string
  expr: string
  annotations: { runbook_url: string }
}
const { groups } = parse(readFileSync('deploy/prometheus/alerts.yaml', 'utf8')) as { groups: { rules: Rule[] }[] }
const rules = groups.flatMap((group) => group.rules)
interface Panel {
  title: string
  gridPos: { x: number; y: number; w: number; h: number }
  targets?: { expr: string }[]
}
const { panels } = JSON.parse(readFileSync('deploy/grafana/tollgate.json', 'utf8')) as { panels: Panel[] }
/** Grafana puts a time in place of its own variable. */
const queries = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr.replaceAll('$__rate_interval', '5m')))

const metricsIn = (expression: string): string[] => expression.match(/\btollgate_\w+/g) ?? []

/** Everything that a control plane and a sidecar serve, after they have had something to do. */
const readMetrics = async (t: Parameters<typeof openShop>[0]): Promise<{ controlPlane: string; sidecar: string; hasMongodb: boolean }> => {
  // Beats are on NATS alone, and a pool on MongoDB alone.
  const world = worlds.findLast(({ missing }) => missing === undefined)
  if (!world) throw new Error('there is no world')
  const port = String(await freePort())
  const tollgate = await world.start({ METRICS_PORT: port })
  t.teardown(tollgate.close)
  const shop = await openShop(t, tollgate)
  await shop.subscribe('c')
  const read = async (of: string | undefined) => (await fetch(`http://127.0.0.1:${of}/metrics`)).text()
  // Sidecars tell of themselves a while after they have started.
  await eventually(async () => /^tollgate_sidecars\{status="live"\} [1-9]/m.test(await read(port)), 30_000)
  return { controlPlane: await read(port), sidecar: await read(tollgate.env.SIDECAR_HTTP_PORT), hasMongodb: world.name.includes('MongoDB') }
}

withTool(titled('the alert rules are right, and each fires in its own test'), async (t) => {
  for (const args of [
    ['check', 'rules', '--lint=all', '--lint-fatal', 'deploy/prometheus/alerts.yaml'],
    ['test', 'rules', 'deploy/prometheus/alerts.test.yaml'],
  ]) {
    const { code, said } = await run(args)
    t.is(code, 0, said)
  }
  const { tests } = parse(await readFile('deploy/prometheus/alerts.test.yaml', 'utf8')) as {
    tests: { alert_rule_test: { alertname: string; exp_alerts: unknown[] }[] }[]
  }
  const tested = tests.flatMap(({ alert_rule_test }) => alert_rule_test)
  for (const { alert } of rules)
    for (const fires of [true, false])
      t.true(
        tested.some(({ alertname, exp_alerts }) => alertname === alert && exp_alerts.length > 0 === fires),
        `${alert} ${fires ? 'fires' : 'stays quiet'} in no test`,
      )
})

test('each alert has a section that says what to do', async (t) => {
  const headings: string[] = (await readFile('docs/operating.md', 'utf8')).match(/^### .*$/gm) ?? []
  for (const { alert, annotations } of rules) {
    t.true(headings.includes(`### ${alert}`), alert)
    t.is(annotations.runbook_url, `docs/operating.md#${alert.toLowerCase()}`)
  }
})

withTool(titled('the queries of the dashboard can be read, and its panels do not overlap'), async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'tollgate-rules-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const file = join(folder, 'queries.yaml')
  await writeFile(file, JSON.stringify({ groups: [{ name: 'dashboard', rules: queries.map((expr, n) => ({ record: `query:${n}`, expr })) }] }))
  const { code, said } = await run(['check', 'rules', file])
  t.is(code, 0, said)
  t.true(queries.length > 30)
  for (const [n, { title, gridPos: a }] of panels.entries())
    for (const { title: other, gridPos: b } of panels.slice(n + 1))
      t.false(a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h, `${title} and ${other}`)
})

withTool(titled('the metrics of both processes are well-formed, and have all that rules and dashboard ask for'), async (t) => {
  t.timeout(180_000)
  const { controlPlane, sidecar, hasMongodb } = await readMetrics(t)
  for (const text of [controlPlane, sidecar]) {
    const own = text.split('\n').filter((line) => !ODDLY_NAMED.test(line))
    const { code, said } = await run(['check', 'metrics'], own.join('\n'))
    t.is(code, 0, said)
    t.is(said, '')
  }
  const there = new Set(
    `${controlPlane}\n${sidecar}`.split('\n').flatMap((line) => {
      const [, name, type] = /^# TYPE (\w+) (\w+)$/.exec(line) ?? []
      if (name === undefined) return []
      return type === 'histogram' ? ['_bucket', '_sum', '_count'].map((suffix) => `${name}${suffix}`) : [name]
    }),
  )
  const asked = new Set([...rules.map(({ expr }) => expr), ...queries].flatMap(metricsIn))
  for (const name of asked) {
    if (OF_MONGODB.test(name) && !hasMongodb) continue
    t.true(there.has(name), name)
  }
  t.true(asked.size > 30)
  // What is documented exists, and what exists is documented.
  const pages = `${await readFile('docs/observability.md', 'utf8')}${await readFile('docs/operating-the-sidecar.md', 'utf8')}`
  const documented = new Set(metricsIn(pages))
  const names = new Set([...there].filter((name) => name.startsWith('tollgate_')).map((name) => name.replace(/_(bucket|sum|count)$/, '')))
  for (const name of names) t.true(documented.has(name), `${name} is not documented`)
  for (const name of documented) t.true(names.has(name) || (OF_MONGODB.test(name) && !hasMongodb), `${name} is documented, and does not exist`)
})
