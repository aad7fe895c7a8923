/**
 * `npm run --silent sbom [-- FILE]`: a bill of materials, as CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/), of what Tollgate runs with.
 * `npm sbom` leaves out whatever a tool of ours uses too.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { runCommand } from '../common/process.ts'
import { thirdParties } from './third-party.ts'

/** https://github.com/package-url/purl-spec/blob/main/types-doc/npm-definition.md */
const purlOf = (name: string, version: string): string => `pkg:npm/${name.replace('@', '%40')}@${version}`

/** `sha512-<base64>`, as lock files have it. */
const hashesOf = (integrity: string | undefined): { alg: string; content: string }[] => {
  const [, algorithm, digest] = /^(sha\d+)-([A-Za-z0-9+/=]+)/.exec(integrity ?? '') ?? []
  return algorithm === undefined || digest === undefined
    ? []
    : [{ alg: algorithm.replace('sha', 'SHA-'), content: Buffer.from(digest, 'base64').toString('hex') }]
}

export const billOfMaterials = (root: string) => {
  const { name, version, license } = JSON.parse(readFileSync(`${root}/package.json`, 'utf8')) as { name: string; version: string; license: string }
  return {
    $schema: 'http://cyclonedx.org/schema/bom-1.6.schema.json',
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    version: 1,
    metadata: { component: { type: 'application', 'bom-ref': purlOf(name, version), name, version, licenses: [{ license: { id: license } }] } },
    components: thirdParties(root).map((one) => {
      const [group, short] = one.name.startsWith('@') ? one.name.split('/') : [undefined, one.name]
      return {
        type: 'library',
        'bom-ref': purlOf(one.name, one.version),
        ...(group ? { group } : {}),
        name: short,
        version: one.version,
        purl: purlOf(one.name, one.version),
        licenses: [{ expression: one.license }],
        hashes: hashesOf(one.integrity),
      }
    }),
  }
}

if (import.meta.main)
  await runCommand(async () => {
    const text = `${JSON.stringify(billOfMaterials(process.cwd()), undefined, 2)}\n`
    const [, , file] = process.argv
    if (file === undefined) process.stdout.write(text)
    else writeFileSync(file, text)
  })
