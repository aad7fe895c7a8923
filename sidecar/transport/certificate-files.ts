/**
 * Certificates from files that are read again when they change: whoever renews them restarts nothing. What is read
 * while they are being renewed, a certificate without its key say, is not taken: the last good ones stay.
 */
import { readFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import type { experimental } from '@grpc/grpc-js'
import { ConfigError } from '../../common/config.ts'
import type { Log } from '../../common/log.ts'

const LOOK_EVERY_MS = 10_000

export interface CertificateFiles {
  /** PEM, the server's own first. */
  certFile: string
  /** PEM. */
  keyFile: string
  /** PEM; with it clients have to show a certificate that one of these has signed. */
  clientCaFile: string | undefined
}

export interface CertificateBytes {
  cert: Buffer
  key: Buffer
  ca: Buffer | undefined
}

const read = (variable: string, path: string): Buffer => {
  try {
    return readFileSync(path)
  } catch (error) {
    throw new ConfigError(`${variable}: the file cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
}

/** @throws ConfigError when they cannot be read, or do not belong together. */
const readAll = ({ certFile, keyFile, clientCaFile }: CertificateFiles): CertificateBytes => {
  const bytes = {
    cert: read('TLS_CERT_FILE', certFile),
    key: read('TLS_KEY_FILE', keyFile),
    ca: clientCaFile === undefined ? undefined : read('TLS_CLIENT_CA_FILE', clientCaFile),
  }
  try {
    createSecureContext(bytes)
  } catch {
    throw new ConfigError('TLS_CERT_FILE, TLS_KEY_FILE: the files must be a PEM certificate and the key that belongs to it')
  }
  return bytes
}

/** Is also what grpc-js calls a certificate provider. */
export class Certificates implements experimental.CertificateProvider {
  #bytes: CertificateBytes
  readonly #listeners = new Set<(bytes: CertificateBytes) => void>()
  readonly #grpcListeners = new Map<unknown, (bytes: CertificateBytes) => void>()
  readonly #timer: NodeJS.Timeout

  /** @throws ConfigError. */
  constructor(files: CertificateFiles, log: Log, lookEveryMs = LOOK_EVERY_MS) {
    this.#bytes = readAll(files)
    this.#timer = setInterval(() => {
      try {
        this.#take(readAll(files), log)
      } catch (error) {
        log.warn({ err: error }, 'TLS: the certificate files cannot be used; the previous ones stay in use')
      }
    }, lookEveryMs)
    this.#timer.unref()
  }

  get current(): CertificateBytes {
    return this.#bytes
  }

  /** Calls back whenever they have changed. */
  onChange(listener: (bytes: CertificateBytes) => void): void {
    this.#listeners.add(listener)
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#listeners.clear()
  }

  addCaCertificateListener(listener: experimental.CaCertificateUpdateListener): void {
    this.#addGrpc(listener, ({ ca }) => listener(ca ? { caCertificate: ca } : null))
  }

  removeCaCertificateListener(listener: experimental.CaCertificateUpdateListener): void {
    this.#removeGrpc(listener)
  }

  addIdentityCertificateListener(listener: experimental.IdentityCertificateUpdateListener): void {
    this.#addGrpc(listener, ({ cert, key }) => listener({ certificate: cert, privateKey: key }))
  }

  removeIdentityCertificateListener(listener: experimental.IdentityCertificateUpdateListener): void {
    this.#removeGrpc(listener)
  }

  #addGrpc(listener: unknown, tell: (bytes: CertificateBytes) => void): void {
    this.#grpcListeners.set(listener, tell)
    this.#listeners.add(tell)
    // Not before it has finished adding itself.
    queueMicrotask(() => tell(this.#bytes))
  }

  #removeGrpc(listener: unknown): void {
    const tell = this.#grpcListeners.get(listener)
    this.#grpcListeners.delete(listener)
    if (tell) this.#listeners.delete(tell)
  }

  #take(bytes: CertificateBytes, log: Log): void {
    const same = (['cert', 'key', 'ca'] as const).every((name) => {
      const [old, now] = [this.#bytes[name], bytes[name]]
      return old === now || (old && now && old.equals(now))
    })
    if (same) return
    this.#bytes = bytes
    log.info('TLS: new certificates were loaded')
    for (const listener of this.#listeners) listener(bytes)
  }
}
