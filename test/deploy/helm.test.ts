/** What the chart in deploy/helm makes of values: manifests that Kubernetes takes, with the rights and the variables that processes need. */
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import test from 'ava'
import { lexer, type Token, type Tokens } from 'marked'
import { parse } from 'yaml'
import { knownVariables, readConfig } from '../../common/config.ts'
import { createLog } from '../../common/log.ts'
import { checkControlPlaneIsSafe, checkSidecarIsSafe } from '../../common/safe-defaults.ts'
import { freePort } from '../support/free-port.ts'
import {
  type Container,
  conform,
  helmMissing,
  type KubernetesObject,
  kubeconformMissing,
  type PodSpec,
  type Probe,
  parseManifests,
  renderChart,
  runHelm,
} from '../support/kubernetes.ts'
import { natsMissing, startNatsServer } from '../support/nats-server.ts'
import { startProcess } from '../support/tollgate.ts'

const chart = 'deploy/helm/tollgate'
const values = ['least', 'bare', 'everything'].map((name) => `${chart}/ci/${name}.yaml`)
/** The longest that a process takes from SIGTERM to its end: common/process.ts. */
const DRAIN_SECONDS = 10

const folder = mkdtempSync(join(tmpdir(), 'tollgate-helm-'))
test.after.always(() => rmSync(folder, { recursive: true, force: true }))
// helm writes dependencies into a chart.
cpSync('deploy/helm', join(folder, 'helm'), { recursive: true })
const application = join(folder, 'helm/example-application')

const withHelm = helmMissing ? test.skip : test
const because = (missing: string | undefined) => (missing ? ` (${missing})` : '')

interface Rendered {
  /** The values that made it, or the chart. */
  of: string
  text: string
  objects: KubernetesObject[]
}

const rendered: Promise<Rendered[]> = (async () => {
  if (helmMissing) return []
  await runHelm('dependency', 'build', application)
  const of = async (name: string, ...options: string[]) => {
    const text = await renderChart(...(options as [string, ...string[]]))
    return { of: name, text, objects: parseManifests(text) }
  }
  return Promise.all([...values.map((file) => of(basename(file, '.yaml'), chart, '--values', file)), of('application', application)])
})()
const objectsOf = async (name: string): Promise<KubernetesObject[]> => (await rendered).find(({ of }) => of === name)?.objects ?? []

const podOf = (object: KubernetesObject): PodSpec | undefined => object.spec.template?.spec
const ours = ({ initContainers = [], containers }: PodSpec): Container[] => [...initContainers, ...containers].filter(({ image }) => /tollgate/.test(image))
const allPods = async () =>
  (await rendered).flatMap(({ of, objects }) =>
    objects.flatMap((object) => {
      const pod = podOf(object)
      return pod ? [{ of, object, pod, name: `${of}: ${object.kind} ${object.metadata.name}` }] : []
    }),
  )

withHelm(`helm finds nothing wrong with the charts${because(helmMissing)}`, async (t) => {
  await rendered
  for (const file of values) t.regex(await runHelm('lint', '--strict', chart, '--values', file), /0 chart\(s\) failed/, file)
  t.regex(await runHelm('lint', '--strict', application), /0 chart\(s\) failed/)
})

const conforming = helmMissing ?? kubeconformMissing
;(conforming ? test.skip : test)(`Kubernetes takes every manifest${because(conforming)}`, async (t) => {
  for (const { of, text, objects } of await rendered) {
    t.is(conform(text, folder), '', of)
    t.true(objects.length > 0, of)
  }
  const [least] = await rendered
  t.regex(conform(least?.text.replace('preStop:', 'preStopp:') ?? '', folder), /Deployment shop-tollgate-control-plane is invalid/)
})

withHelm(`no container has more rights than it needs${because(helmMissing)}`, async (t) => {
  const pods = await allPods()
  t.deepEqual([...new Set(pods.map(({ object }) => object.kind))].toSorted(), ['DaemonSet', 'Deployment', 'Job', 'StatefulSet'])
  for (const { of, pod, name } of pods) {
    t.like(pod, { automountServiceAccountToken: false }, name)
    if (of !== 'application') t.like(pod, { enableServiceLinks: false, securityContext: { runAsNonRoot: true, fsGroup: 1000 } }, name)
    t.true(ours(pod).length > 0, name)
    for (const { securityContext, resources } of ours(pod)) {
      t.deepEqual(
        securityContext,
        {
          runAsUser: 1000,
          runAsGroup: 1000,
          runAsNonRoot: true,
          readOnlyRootFilesystem: true,
          allowPrivilegeEscalation: false,
          capabilities: { drop: ['ALL'] },
          seccompProfile: { type: 'RuntimeDefault' },
        },
        name,
      )
      t.truthy(resources.limits?.memory, name)
    }
    for (const { name: volume, emptyDir } of pod.volumes) if (emptyDir) t.truthy(emptyDir.sizeLimit, `${name}: ${volume}`)
  }
})

/** As `npm run keys:init` makes them. */
execFileSync(process.execPath, ['cli/keys-init/main.ts', '--env', join(folder, '.env'), '--secrets', join(folder, 'secrets')])
const secrets: Record<string, string> = {
  MONGODB_URL: 'mongodb://tollgate:password@mongo:27017/tollgate?replicaSet=tollgate',
  NATS_URL: 'nats://token@nats:4222',
  ...Object.fromEntries([...readFileSync(join(folder, '.env'), 'utf8').matchAll(/^(\w+)='(.*)'$/gm)].map(([, name = '', value = '']) => [name, value])),
}
for (const [name, value] of Object.entries(secrets)) writeFileSync(join(folder, name), value)

/** As the container has it, with its secrets in files of this machine. */
const environmentOf = ({ env }: Container): Record<string, string> =>
  Object.fromEntries(env.map(({ name, value }) => [name, value.replace(/^\/etc\/tollgate\/([A-Z_]+)$/, (_, secret: string) => join(folder, secret))]))

withHelm(`processes know every variable that they are given, take its value, and think it safe${because(helmMissing)}`, async (t) => {
  // What everything.yaml sets for Node itself.
  const foreign = ['NODE_OPTIONS']
  for (const { pod, name } of await allPods()) {
    for (const container of ours(pod)) {
      const names = container.env.map((one) => one.name)
      t.deepEqual(names.toSorted(), [...new Set(names)].toSorted(), `${name}: none twice`)
      for (const one of names) if (!foreign.includes(one)) t.true(knownVariables.includes(one), `${name}: ${one}`)
      const config = readConfig(environmentOf(container))
      const script = container.command.at(-1)
      if (script === 'control-plane/main.ts') t.notThrows(() => checkControlPlaneIsSafe(config, createLog('silent')), name)
      if (script === 'sidecar/main.ts') t.notThrows(() => checkSidecarIsSafe(config), name)
    }
  }
})

interface Schema {
  properties: Record<string, Schema>
}

withHelm(`every variable of Tollgate can be set by a value${because(helmMissing)}`, async (t) => {
  const settable = (file: string, ...path: string[]) =>
    Object.keys(path.reduce((schema, key) => schema.properties[key] as Schema, JSON.parse(readFileSync(file, 'utf8')) as Schema).properties)
  const byConfig = [
    ...settable(`${chart}/values.schema.json`, 'controlPlane', 'config'),
    ...settable(`${chart}/charts/tollgate-sidecar/values.schema.json`, 'config'),
  ]
  t.deepEqual(
    byConfig.filter((name) => !knownVariables.includes(name)),
    [],
  )
  t.deepEqual(
    byConfig.filter((name) => knownVariables.includes(`${name}_FILE`)),
    [],
    'no secret is a plain value',
  )
  const byOthers = (await allPods()).flatMap(({ pod }) => ours(pod).flatMap(({ env }) => env.map(({ name }) => name)))
  // The journal is beside the snapshot; CALLER_… are of commands that ask a sidecar.
  const left = knownVariables.filter((name) => !/_FILE$|^CALLER_|^JOURNAL_/.test(name) && !byConfig.includes(name) && !byOthers.includes(name))
  const isSecret = (name: string) => byOthers.includes(`${name}_FILE`)
  t.deepEqual(
    left.filter((name) => !isSecret(name)),
    [],
    'add it to config in values.schema.json',
  )
})

withHelm(`secrets are files of Secrets that are there already, and none is in a manifest${because(helmMissing)}`, async (t) => {
  for (const { of, text, objects } of await rendered) {
    t.deepEqual(
      objects.filter(({ kind }) => kind === 'Secret' || kind === 'ConfigMap'),
      [],
      of,
    )
    t.notRegex(text, /password|whsec_|tgp_/, of)
  }
  for (const { pod, name } of await allPods()) {
    for (const { env, volumeMounts } of ours(pod)) {
      for (const { name: variable } of env) t.false(knownVariables.includes(`${variable}_FILE`) && variable !== 'NATS_URL', `${name}: ${variable}`)
      const mounted = volumeMounts.flatMap(({ name: volume, mountPath }) =>
        (pod.volumes.find((one) => one.name === volume)?.projected?.sources ?? []).flatMap(({ secret }) =>
          secret.items.map(({ path }) => `${mountPath}/${path}`),
        ),
      )
      for (const { name: variable, value } of env) if (value.startsWith('/etc/tollgate/')) t.true(mounted.includes(value), `${name}: ${variable}`)
      t.is(new Set(mounted).size, mounted.length, name)
    }
  }
})

/** A request of the kubelet, at a port that the container has. */
const isAnswered = (container: Container, probe: Probe | undefined, path: string): boolean =>
  probe?.httpGet?.path === path && (container.ports ?? []).some(({ name }) => name === probe.httpGet?.port)

withHelm(`control planes start, are seen to work, are spread, and end without a cut-off request${because(helmMissing)}`, async (t) => {
  for (const which of ['least', 'everything']) {
    const objects = await objectsOf(which)
    const deployment = objects.find(({ kind }) => kind === 'Deployment')
    const pod = deployment && podOf(deployment)
    const [container] = pod?.containers ?? []
    if (!deployment || !pod || !container) return t.fail(which)
    t.like(deployment.spec, { strategy: { rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } } })
    t.true(isAnswered(container, container.startupProbe, '/healthz'))
    t.true(isAnswered(container, container.livenessProbe, '/healthz'))
    t.true(isAnswered(container, container.readinessProbe, '/readyz'))
    t.true((pod.terminationGracePeriodSeconds ?? 0) >= (container.lifecycle?.preStop.sleep.seconds ?? 0) + DRAIN_SECONDS)
    t.is(objects.filter(({ kind }) => kind === 'PodDisruptionBudget').length, 1)
  }
  const [deployment] = (await objectsOf('least')).filter(({ kind }) => kind === 'Deployment')
  const spread = (podOf(deployment as KubernetesObject) as PodSpec & { topologySpreadConstraints: { topologyKey: string }[] }).topologySpreadConstraints
  t.deepEqual(
    spread.map(({ topologyKey }) => topologyKey),
    ['topology.kubernetes.io/zone', 'kubernetes.io/hostname'],
  )
})

const withKey = ({ spec }: KubernetesObject) =>
  (spec.endpoints as { port: string; authorization?: unknown }[]).map(({ port, authorization }) => [port, authorization])

withHelm(`Prometheus reads metrics at a port of their own, or with the platform key${because(helmMissing)}`, async (t) => {
  const monitors = (objects: KubernetesObject[]) => objects.filter(({ kind }) => kind === 'ServiceMonitor')
  const options = ['--values', `${chart}/ci/everything.yaml`, '--set', 'metrics.port=0']
  t.deepEqual(monitors(await objectsOf('everything')).flatMap(withKey), [
    ['metrics', undefined],
    ['http', undefined],
  ])
  const [controlPlane] = monitors(parseManifests(await renderChart(chart, ...options)))
  t.deepEqual(withKey(controlPlane as KubernetesObject), [['http', { credentials: { name: 'tollgate', key: 'PLATFORM_API_KEY' } }]])
})

type Labels = Record<string, string>
const selects = (selector: { matchLabels?: Labels } | Labels, labels: Labels): boolean =>
  Object.entries((selector.matchLabels ?? selector) as Labels).every(([key, value]) => labels[key] === value)
/** Those that an object selects. */
const selectedBy = (object: KubernetesObject, objects: KubernetesObject[]): KubernetesObject[] =>
  objects.filter(({ spec }) => spec.template && selects((object.spec.podSelector ?? object.spec.selector) as Labels, spec.template.metadata.labels))

withHelm(`every selector selects the pods of its part alone, and every port is one of theirs${because(helmMissing)}`, async (t) => {
  for (const { of, objects } of await rendered) {
    const pods = objects.filter(podOf)
    for (const object of objects) {
      if (!object.spec.selector && !object.spec.podSelector) continue
      const title = `${of}: ${object.kind} ${object.metadata.name}`
      // A ServiceMonitor selects a Service by its labels.
      const found =
        object.kind === 'ServiceMonitor'
          ? objects.filter(({ kind, metadata }) => kind === 'Service' && selects(object.spec.selector as Labels, metadata.labels))
          : selectedBy(object, pods)
      t.deepEqual(
        found.map(({ metadata }) => metadata.name),
        [object.metadata.name],
        title,
      )
      const ports = found.flatMap((one) => podOf(one)?.containers.flatMap(({ ports = [] }) => ports.map(({ name }) => name)) ?? [])
      if (object.kind === 'Service') for (const { targetPort } of object.spec.ports as { targetPort: string }[]) t.true(ports.includes(targetPort), title)
    }
  }
})

interface NetworkPolicy {
  policyTypes: string[]
  ingress?: { ports: { port: number }[]; from?: unknown[] }[]
  egress: { ports: { port: number }[]; to?: { podSelector?: { matchLabels: Labels }; ipBlock?: { cidr: string; except: string[] } }[] }[]
}

withHelm(`each pod has one NetworkPolicy, which lets in and out what its part needs${because(helmMissing)}`, async (t) => {
  const objects = await objectsOf('everything')
  const policies = objects.filter(({ kind }) => kind === 'NetworkPolicy')
  t.deepEqual(policies.flatMap((policy) => selectedBy(policy, objects.filter(podOf))).length, objects.filter(podOf).length)
  const of = (part: string) => policies.find(({ metadata }) => metadata.name === `shop-tollgate-${part}`)?.spec as unknown as NetworkPolicy
  const ports = (rules: { ports: { port: number }[] }[] = []) => rules.map((rule) => rule.ports.map(({ port }) => port))
  t.deepEqual(ports(of('control-plane').egress), [[53, 53], [27017], [4222], [443], [8090], [8443]])
  t.deepEqual(ports(of('simulator').egress), [[53, 53], [443], [8080]])
  t.deepEqual(ports(of('sidecar').egress), [[53, 53], [4222]])
  t.deepEqual(ports(of('migrate').egress), [[53, 53], [27017]])
  t.deepEqual(ports(of('control-plane').ingress), [[8080], [9464]])
  t.deepEqual(ports(of('simulator').ingress), [[8090]])
  t.deepEqual(ports(of('sidecar').ingress), [[50051], [9090]])
  t.is(of('migrate').ingress, undefined)
  for (const policy of policies) {
    t.deepEqual(policy.spec.policyTypes, ['Ingress', 'Egress'], policy.metadata.name)
    for (const rule of (policy.spec as unknown as NetworkPolicy).ingress ?? []) t.truthy(rule.from?.length, policy.metadata.name)
  }
  // Who names a pod names one that exists, at a port that it has.
  for (const { spec } of policies)
    for (const { ports: asked, to = [] } of (spec as unknown as NetworkPolicy).egress)
      for (const { podSelector } of to)
        if (podSelector) {
          const [pod] = objects.filter((one) => podOf(one) && selects(podSelector, one.spec.template?.metadata.labels ?? {}))
          for (const { port } of asked) t.true(podOf(pod as KubernetesObject)?.containers[0]?.ports?.some(({ containerPort }) => containerPort === port))
        }
  const internet = of('control-plane').egress.find(({ ports }) => ports.some(({ port }) => port === 443))?.to ?? []
  t.deepEqual(internet.map(({ ipBlock }) => ipBlock?.cidr).toSorted(), ['0.0.0.0/0', '::/0'])
  t.true(
    internet.some(({ ipBlock }) => ipBlock?.except.includes('169.254.0.0/16')),
    'not the metadata of the cloud',
  )
  t.deepEqual(
    (await objectsOf('bare')).map(({ kind }) => kind),
    ['Service', 'Deployment'],
  )
})

withHelm(`migrations run before the first new control plane, with a NetworkPolicy of their own before them${because(helmMissing)}`, async (t) => {
  const hooks = (await objectsOf('least')).filter(({ metadata }) => metadata.annotations?.['helm.sh/hook'])
  t.deepEqual(hooks.map(({ kind, metadata }) => [kind, metadata.annotations?.['helm.sh/hook'], metadata.annotations?.['helm.sh/hook-weight']]).toSorted(), [
    ['Job', 'pre-install,pre-upgrade', '0'],
    ['NetworkPolicy', 'pre-install,pre-upgrade', '-1'],
  ])
  const pod = podOf(hooks.find(({ kind }) => kind === 'Job') as KubernetesObject)
  t.deepEqual(pod?.containers[0]?.command, ['node', 'control-plane/migrate.ts'])
  t.deepEqual(
    pod?.containers[0]?.env.map(({ name }) => name),
    ['NODE_ENV', 'MONGODB_URL_FILE'],
  )
})

withHelm(`a sidecar runs beside an application from before it until after it, and on each node for that node${because(helmMissing)}`, async (t) => {
  const [deployment] = await objectsOf('application')
  const [beside] = podOf(deployment as KubernetesObject)?.initContainers ?? []
  t.like(beside, { name: 'tollgate-sidecar', restartPolicy: 'Always', command: ['node', '--max-semi-space-size=8', 'sidecar/main.ts'] })
  t.is(beside?.ports, undefined)
  t.is(environmentOf(beside as Container).HOST, '127.0.0.1')
  const objects = await objectsOf('everything')
  const daemonSet = objects.find(({ kind }) => kind === 'DaemonSet') as KubernetesObject
  const [onNode] = podOf(daemonSet)?.containers ?? []
  if (!onNode) return t.fail()
  t.is(onNode.restartPolicy, undefined)
  t.true(isAnswered(onNode, onNode.readinessProbe, '/readyz'))
  t.true((podOf(daemonSet)?.terminationGracePeriodSeconds ?? 0) >= (onNode.lifecycle?.preStop.sleep.seconds ?? 0) + DRAIN_SECONDS)
  const [service] = objects.filter(({ kind, metadata }) => kind === 'Service' && metadata.name === daemonSet.metadata.name)
  t.is(service?.spec.internalTrafficPolicy, 'Local')
  // What a restart of the container has to find again is on a volume.
  for (const container of [onNode, beside as Container]) {
    const data = container.volumeMounts.find(({ mountPath }) => environmentOf(container).SNAPSHOT_FILE?.startsWith(`${mountPath}/`))
    t.truthy(data && !data.readOnly)
  }
})

const wrong: [what: string, set: string[], found: RegExp][] = [
  ['nothing is named', [], /image\.repository: .*publicUrl: .*secret\.name: .*nats\.url: /s],
  ['a value that there is not', ['controlPlane.replica=3'], /\/controlPlane'.*'replica'/],
  ['a variable that there is not', ['controlPlane.config.TRUSTED_PROXYS=1'], /\/controlPlane\/config'.*'TRUSTED_PROXYS'/],
  ['a variable of a sidecar that there is not', ['sidecar.config.CACHE_BYTES=1'], /sidecar:\s+- at '\/config'.*'CACHE_BYTES'/],
  ['a number for a text', ['controlPlane.config.TRUSTED_PROXIES=1'], /\/controlPlane\/config\/TRUSTED_PROXIES': got number, want string/],
  ['a secret as a value', ['controlPlane.config.PLATFORM_API_KEY=secret'], /'PLATFORM_API_KEY' not allowed/],
  ['a password in a URL', ['nats.url=nats://me:secret@nats:4222'], /nats\.url: it contains a user/],
  ['storage that cannot be shared', ['secret.variables={CREDENTIALS_KEY,PLATFORM_API_KEY}'], /secret\.variables: it must have MONGODB_URL/],
  ['secrets of providers in plain', ['secret.variables={MONGODB_URL,PLATFORM_API_KEY}'], /secret\.variables: it must have CREDENTIALS_KEY/],
  ['NATS twice', ['secret.variables={NATS_URL}'], /nats\.url: NATS_URL is also in secret\.variables/],
  ['an ingress without a name', ['ingress.enabled=true'], /ingress\.host: /],
  ['a sidecar that anybody may ask', ['daemonSet.enabled=true', 'sidecar.secret.variables=null'], /sidecar\.secret\.variables: .*SIDECAR_KEYS/],
  ['a sidecar that nobody can ask', ['daemonSet.enabled=true', 'sidecar.host=127.0.0.1'], /sidecar\.host: /],
  ['client certificates without TLS', ['daemonSet.enabled=true', 'sidecar.tls.clientCertificates=true'], /sidecar\.tls\.secretName: /],
]
for (const [what, set, found] of wrong)
  withHelm(`a wrong value is refused by its name: ${what}${because(helmMissing)}`, async (t) => {
    const least = set.length > 0 ? ['--values', `${chart}/ci/least.yaml`] : []
    const error = await t.throwsAsync(renderChart(chart, ...least, ...set.flatMap((one) => ['--set', one])))
    t.regex(error?.message ?? '', found)
    t.notRegex(error?.message ?? '', /me:secret/)
  })

/** Those in a list as well. */
const codeIn = (tokens: Token[]): Tokens.Code[] =>
  tokens.flatMap((token) =>
    token.type === 'code' ? [token as Tokens.Code] : codeIn([...((token as Tokens.List).items ?? []), ...((token as Tokens.ListItem).tokens ?? [])]),
  )

withHelm(`the values of docs/kubernetes.md make what it says${because(helmMissing)}`, async (t) => {
  const files = codeIn(lexer(readFileSync('docs/kubernetes.md', 'utf8')))
    .filter(({ lang, text }) => lang === 'yaml' && !text.includes('Chart.yaml'))
    .map(({ text }, n) => {
      const file = join(folder, `documented-${n}.yaml`)
      writeFileSync(file, text)
      return file
    })
  t.is(files.length, 3)
  const objects = parseManifests(await renderChart(chart, ...files.flatMap((file) => ['--values', file])))
  for (const kind of ['Deployment', 'Ingress', 'StatefulSet', 'DaemonSet', 'NetworkPolicy'])
    t.true(
      objects.some((object) => object.kind === kind),
      kind,
    )
})

test('the charts have the version of Tollgate, and their pages name every value', (t) => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8'))
  const leaves = (of: unknown, path = ''): string[] =>
    of !== null && typeof of === 'object' && !Array.isArray(of) && Object.keys(of).length > 0
      ? Object.entries(of).flatMap(([key, value]) => leaves(value, path === '' ? key : `${path}.${key}`))
      : [path]
  for (const at of [chart, `${chart}/charts/tollgate-sidecar`]) {
    t.like(parse(readFileSync(`${at}/Chart.yaml`, 'utf8')), { version, appVersion: version }, at)
    const rows = [...readFileSync(`${at}/README.md`, 'utf8').matchAll(/^\| `([^|]+)` \|/gm)].flatMap(([, names = '']) => names.split('`, `'))
    const named = (name: string) => rows.some((row) => row === name || name.startsWith(`${row}.`))
    const all = leaves(parse(readFileSync(`${at}/values.yaml`, 'utf8')))
    t.deepEqual(
      all.filter((name) => !named(name)),
      [],
      at,
    )
    t.deepEqual(
      rows.filter((row) => !all.some((name) => name === row || name.startsWith(`${row}.`))),
      [],
      at,
    )
  }
})

const running = helmMissing ?? natsMissing
;(running ? test.skip : test)(`processes run with the variables of their containers, and their probes see it${because(running)}`, async (t) => {
  t.timeout(120_000)
  const nats = await startNatsServer()
  t.teardown(nats.stop)
  const [controlPlane] = (await objectsOf('least')).flatMap((object) => (object.kind === 'Deployment' ? (podOf(object)?.containers ?? []) : []))
  const [deployment] = await objectsOf('application')
  const [sidecar] = podOf(deployment as KubernetesObject)?.initContainers ?? []
  if (!controlPlane || !sidecar) return t.fail()
  const [httpPort, grpcPort, sidecarPort] = [await freePort(), await freePort(), await freePort()]
  // Servers, ports and folders become this machine's; storage is SQLite, which needs no server.
  const plane = await startProcess('control-plane/main.ts', {
    ...environmentOf(controlPlane),
    // An empty variable is an unset one.
    MONGODB_URL_FILE: '',
    NATS_URL: nats.url,
    NATS_REPLICAS: '1',
    HTTP_PORT: String(httpPort),
    DATA_DIR: folder,
  })
  t.teardown(() => plane.stop('SIGKILL'))
  for (const probe of [controlPlane.startupProbe, controlPlane.livenessProbe, controlPlane.readinessProbe])
    t.true((await fetch(`http://127.0.0.1:${httpPort}${probe?.httpGet?.path}`)).ok)
  const beside = await startProcess('sidecar/main.ts', {
    ...environmentOf(sidecar),
    NATS_CREDS: '',
    NATS_CA_FILE: '',
    NATS_API_PREFIX: '',
    NATS_URL: nats.url,
    GRPC_PORT: String(grpcPort),
    SIDECAR_HTTP_PORT: String(sidecarPort),
    SNAPSHOT_FILE: join(folder, 'snapshot'),
  })
  t.teardown(() => beside.stop('SIGKILL'))
  const probed = (probe: Probe | undefined) => {
    const [, ...args] = (probe?.exec?.command ?? []).map((one) => one.replace(':9090/', `:${sidecarPort}/`))
    return spawnSync(process.execPath, args).status
  }
  t.is(probed(sidecar.startupProbe), 0)
  t.is(probed(sidecar.livenessProbe), 0)
  t.is(await beside.stop('SIGTERM'), 0)
  t.is(probed(sidecar.startupProbe), 1)
  t.is(await plane.stop('SIGTERM'), 0)
})
