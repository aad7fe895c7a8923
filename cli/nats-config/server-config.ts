/** A nats-server's configuration, as text: accounts, users and what each may. Pure. */
import { allQuestions, allUsageSubjects, inboxOf, streamOf, subjectOfKey } from '../../common/feed/nats/names.ts'
import { controlPlaneAccess, IMPORTED_API, OWN_API, sidecarAccess } from '../../common/feed/nats/permissions.ts'

export interface SidecarUser {
  name: string
  publicKey: string
  /** The tenants that it reads and asks about; undefined: all. */
  tenants: readonly string[] | undefined
}

const ACCOUNT = 'TOLLGATE'
/** The name of a sidecar's account; the prefix keeps it apart from the server's own keywords. */
const accountOf = ({ name }: SidecarUser): string => `TOLLGATE_${name}`

const quoted = (text: string): string => JSON.stringify(text)
const block = (open: string, lines: readonly string[], close: string): string[] => [open, ...lines.map((line) => `  ${line}`), close]
const list = (name: string, lines: readonly string[]): string[] => block(`${name}: [`, lines, ']')

const userLines = (publicKey: string, publish: readonly string[], subscribe: readonly string[], answers: boolean): string[] =>
  list(
    'users',
    block(
      `{ nkey: ${publicKey}, permissions: {`,
      [...list('publish', publish.map(quoted)), ...list('subscribe', subscribe.map(quoted)), ...(answers ? ['allow_responses: true'] : [])],
      '} }',
    ),
  )

const exportLines = (bucket: string, sidecars: readonly SidecarUser[]): string[] => {
  const stream = streamOf(bucket)
  const to = (of: readonly SidecarUser[]) => `accounts: [${of.map(accountOf).map(quoted).join(', ')}]`
  const ofAll = sidecars.filter(({ tenants }) => tenants === undefined)
  const service = (subject: string, of: readonly SidecarUser[]) => (of.length === 0 ? [] : [`{ service: ${quoted(subject)}, ${to(of)} }`])
  return list('exports', [
    ...service(`${OWN_API}.DIRECT.GET.${stream}.${subjectOfKey(bucket, '>')}`, sidecars),
    ...service(`${OWN_API}.CONSUMER.CREATE.${stream}.*.${subjectOfKey(bucket, '>')}`, sidecars),
    ...service(`$JS.FC.${stream}.>`, sidecars),
    ...service(allQuestions(bucket), sidecars),
    ...service(`${OWN_API}.STREAM.INFO.${stream}`, ofAll),
    ...service(`${OWN_API}.STREAM.MSG.GET.${stream}`, ofAll),
    ...service(`${OWN_API}.CONSUMER.DELETE.${stream}.*`, ofAll),
    `{ stream: ${quoted(allUsageSubjects(bucket))}, ${to(sidecars)} }`,
    ...sidecars.map((one) => `{ stream: ${quoted(`${inboxOf(one.publicKey)}.>`)}, ${to([one])} }`),
  ])
}

const sidecarLines = (bucket: string, sidecar: SidecarUser): string[] => {
  const { requests, subjects, inbox, usage } = sidecarAccess(bucket, sidecar.publicKey, sidecar.tenants)
  const service = (subject: string, to?: string) =>
    `{ service: { account: ${ACCOUNT}, subject: ${quoted(subject)} }${to === undefined ? '' : `, to: ${quoted(to)}`} }`
  const asked = requests.map((request) => `${IMPORTED_API}.${request}`)
  return block(
    `${quoted(accountOf(sidecar))}: {`,
    [
      ...userLines(sidecar.publicKey, [...asked, ...subjects], [inbox, ...usage], false),
      ...list('imports', [
        ...requests.map((request) => service(`${OWN_API}.${request}`, `${IMPORTED_API}.${request}`)),
        ...subjects.map((subject) => service(subject)),
        ...[inbox, ...usage].map((subject) => `{ stream: { account: ${ACCOUNT}, subject: ${quoted(subject)} } }`),
      ]),
    ],
    '}',
  )
}

/** The file that a nats-server's configuration includes: the accounts. */
export const accountsConfig = (bucket: string, controlPlaneKey: string, sidecars: readonly SidecarUser[]): string => {
  const { publish, subscribe } = controlPlaneAccess(bucket, controlPlaneKey)
  return [
    '# Written by npm run nats:config, which overwrites it. It contains no secret: these are the public halves of NKeys.',
    ...block(
      'accounts: {',
      [
        ...block(
          `${ACCOUNT}: {`,
          ['jetstream: enabled', ...userLines(controlPlaneKey, publish, subscribe, true), ...(sidecars.length === 0 ? [] : exportLines(bucket, sidecars))],
          '}',
        ),
        ...sidecars.flatMap((sidecar) => sidecarLines(bucket, sidecar)),
      ],
      '}',
    ),
    '',
  ].join('\n')
}

/** A whole configuration, to begin with. @param tls paths of PEM files. */
export const serverConfig = (usersFile: string, tls: { cert: string; key: string } | undefined): string =>
  [
    '# A nats-server for Tollgate: nats-server -c nats.conf. npm run nats:config created this file once; you may change it.',
    'listen: "0.0.0.0:4222"',
    '# All entitlements of a customer travel as one message: keep this at one mebibyte or more.',
    'max_payload: 1MB',
    'jetstream { store_dir: "./data" }',
    ...(tls
      ? [
          `tls { cert_file: ${quoted(tls.cert)}, key_file: ${quoted(tls.key)} }`,
          '# To require client certificates too (NATS_CERT_FILE), add to it: ca_file: "…", verify: true',
        ]
      : ['# Without TLS, anyone on the network can read the traffic; for TLS: npm run nats:config -- --tls CERT KEY CA']),
    `include ${quoted(usersFile)}`,
    '',
  ].join('\n')
