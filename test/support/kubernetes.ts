/** What tests of the Helm chart need: `helm`, `kubeconform`, and the schemas of Kubernetes' own objects. */
import { execFile, spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { parseAllDocuments } from 'yaml'
import { findTool } from './find-tool.ts'

const run = promisify(execFile)

/** The version whose schemas the tests use; the package kubernetes-validate brings those of a dozen. */
const KUBERNETES = '1.37.0'

export const helm = findTool('helm', 'HELM', 'version')
export const kubeconform = findTool('kubeconform', 'KUBECONFORM', '-v')
/** The folder `kubernetes-json-schema` of PyPI's kubernetes-validate: kubeconform itself would get schemas from the internet. */
const schemas = join(process.env.KUBERNETES_SCHEMAS ?? join(homedir(), '.cache/tollgate/kubernetes-json-schema'), `v${KUBERNETES}-local-strict`)

export const helmMissing = helm ? undefined : 'helm is neither on the PATH nor named by HELM'
export const schemasMissing = existsSync(join(schemas, '_definitions.json')) ? undefined : `there is no ${schemas}; KUBERNETES_SCHEMAS names its parent`
export const kubeconformMissing = kubeconform ? schemasMissing : 'kubeconform is neither on the PATH nor named by KUBECONFORM'

export interface Container {
  name: string
  image: string
  command: string[]
  env: { name: string; value: string }[]
  restartPolicy?: string
  ports?: { name: string; containerPort: number }[]
  securityContext: Record<string, unknown>
  resources: { limits?: { memory?: string } }
  volumeMounts: { name: string; mountPath: string; readOnly?: boolean }[]
  lifecycle?: { preStop: { sleep: { seconds: number } } }
  startupProbe?: Probe
  readinessProbe?: Probe
  livenessProbe?: Probe
}

export interface Probe {
  httpGet?: { path: string; port: string }
  exec?: { command: string[] }
}

interface SecretSource {
  secret: { name: string; items: { key: string; path: string }[] }
}

export interface PodSpec {
  automountServiceAccountToken?: boolean
  enableServiceLinks?: boolean
  terminationGracePeriodSeconds?: number
  securityContext?: Record<string, unknown>
  containers: Container[]
  initContainers?: Container[]
  volumes: { name: string; emptyDir?: { sizeLimit?: string }; projected?: { defaultMode: number; sources: SecretSource[] } }[]
}

export interface KubernetesObject {
  kind: string
  apiVersion: string
  metadata: { name: string; namespace: string; labels: Record<string, string>; annotations?: Record<string, string> }
  spec: Record<string, unknown> & { template?: { metadata: { labels: Record<string, string> }; spec: PodSpec } }
}

/** Runs helm. @throws Error with what it said. */
export const runHelm = async (...args: string[]): Promise<string> => {
  try {
    const { stdout, stderr } = await run(helm ?? '', args, { maxBuffer: 64 * 1024 * 1024 })
    return stdout + stderr
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string }
    throw new Error(stdout + stderr)
  }
}

/** The manifests that a chart makes. @throws Error with what helm said. */
export const renderChart = async (chart: string, ...options: string[]): Promise<string> =>
  runHelm('template', 'shop', chart, '--namespace', 'billing', '--kube-version', KUBERNETES, ...options)

export const parseManifests = (text: string): KubernetesObject[] =>
  parseAllDocuments(text)
    .map((document) => document.toJS())
    .filter((object) => object !== null)

/**
 * The schemas as kubeconform reads them. It resolves a reference against the file's own address, and not against the `$id`
 * that these have.
 */
const copySchemas = (objects: readonly KubernetesObject[], folder: string): void => {
  for (const name of new Set(['_definitions', ...objects.map(schemaNameOf)])) {
    const { $id: _, ...schema } = JSON.parse(readFileSync(join(schemas, `${name}.json`), 'utf8'))
    writeFileSync(join(folder, `${name}.json`), JSON.stringify(schema).replaceAll('"/api/_definitions.json#', '"_definitions.json#'))
  }
}

const schemaNameOf = ({ kind, apiVersion }: KubernetesObject): string => `${kind}-${apiVersion.replace(/\..*\//, '/').replace('/', '-')}`.toLowerCase()

/** @param folder takes copies of the schemas. @returns what kubeconform finds wrong, one object per line. */
export const conform = (manifests: string, folder: string): string => {
  // The ServiceMonitor is the Prometheus operator's, which brings its schema into the cluster.
  copySchemas(
    parseManifests(manifests).filter(({ kind }) => kind !== 'ServiceMonitor'),
    folder,
  )
  const location = join(folder, '{{.ResourceKind}}{{.KindSuffix}}.json')
  const { stdout, stderr } = spawnSync(kubeconform ?? '', ['-strict', '-skip', 'ServiceMonitor', '-schema-location', location], {
    input: manifests,
    encoding: 'utf8',
  })
  return stdout + stderr
}
