/** A certificate authority of one installation's own, and certificates of the servers that it runs. */
// A dependency of @peculiar/x509 needs this import, and needs it first.
import 'reflect-metadata'
import { webcrypto } from 'node:crypto'
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  cryptoProvider,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509'
import { DAY_MS, HOUR_MS } from '../../common/durations.ts'

cryptoProvider.set(webcrypto as never)

/** P-256: what every TLS of MongoDB and NATS takes. */
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
const CA_DAYS = 3_650
/** The longest validity that browsers used to accept. To renew a certificate, remove its files and run the command again. */
const SERVER_DAYS = 825
/** A server's clock may be a little behind. */
const BEFORE_MS = HOUR_MS

export interface Pair {
  certificate: string
  key: string
}

const newKeys = () => webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']) as Promise<webcrypto.CryptoKeyPair>

const pemOf = async (key: webcrypto.CryptoKey): Promise<string> => `${PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY')}\n`

const validity = (now: Date, days: number) => ({ notBefore: new Date(now.getTime() - BEFORE_MS), notAfter: new Date(now.getTime() + days * DAY_MS) })

export const newAuthority = async (now: Date): Promise<Pair> => {
  const keys = await newKeys()
  const made = await X509CertificateGenerator.createSelfSigned({
    name: 'CN=Tollgate',
    ...validity(now, CA_DAYS),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return { certificate: `${made.toString('pem')}\n`, key: await pemOf(keys.privateKey) }
}

/** @param names under which the server is reached, of which the first is its own. */
export const newServer = async (authority: Pair, names: readonly [string, ...string[]], now: Date): Promise<Pair> => {
  const ca = new X509Certificate(authority.certificate)
  const signingKey = await webcrypto.subtle.importKey('pkcs8', PemConverter.decodeFirst(authority.key), ALGORITHM, false, ['sign'])
  const keys = await newKeys()
  const made = await X509CertificateGenerator.create({
    subject: `CN=${names[0]}`,
    issuer: ca.subject,
    ...validity(now, SERVER_DAYS),
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey,
    signingKey,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      // Servers of a cluster are each other's clients.
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
      new SubjectAlternativeNameExtension([...names.map((value) => ({ type: 'dns' as const, value })), { type: 'ip' as const, value: '127.0.0.1' }]),
      await AuthorityKeyIdentifierExtension.create(ca.publicKey),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return { certificate: `${made.toString('pem')}\n`, key: await pemOf(keys.privateKey) }
}
