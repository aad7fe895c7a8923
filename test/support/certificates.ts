/** A certificate authority of a test's own, by openssl: a server's certificate and a client's. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, renameSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface TestCertificates {
  folder: string
  caFile: string
  certFile: string
  keyFile: string
  ca: Buffer
  client: { cert: Buffer; key: Buffer }
  /** The server's, made anew in the place of the old. @returns its serial number. */
  renew(): string
}

export const makeCertificates = (): TestCertificates => {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-tls-'))
  const openssl = (...of: string[]) => execFileSync('openssl', of, { cwd: folder, stdio: ['ignore', 'pipe', 'ignore'] }).toString()
  openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=test ca', '-keyout', 'ca.key', '-out', 'ca.pem')
  const issue = (name: string) => {
    openssl(
      'req',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-subj',
      `/CN=${name}`,
      '-addext',
      'subjectAltName=DNS:localhost,IP:127.0.0.1',
      '-keyout',
      `${name}.key.new`,
      '-out',
      `${name}.csr`,
    )
    openssl(
      'x509',
      '-req',
      '-in',
      `${name}.csr`,
      '-CA',
      'ca.pem',
      '-CAkey',
      'ca.key',
      '-CAcreateserial',
      '-days',
      '2',
      '-copy_extensions',
      'copy',
      '-out',
      `${name}.pem.new`,
    )
    for (const kind of ['key', 'pem']) renameSync(join(folder, `${name}.${kind}.new`), join(folder, `${name}.${kind}`))
    return openssl('x509', '-in', `${name}.pem`, '-noout', '-serial').trim().replace('serial=', '')
  }
  issue('server')
  issue('client')
  const read = (name: string) => readFileSync(join(folder, name))
  return {
    folder,
    caFile: join(folder, 'ca.pem'),
    certFile: join(folder, 'server.pem'),
    keyFile: join(folder, 'server.key'),
    ca: read('ca.pem'),
    client: { cert: read('client.pem'), key: read('client.key') },
    renew: () => issue('server'),
  }
}
