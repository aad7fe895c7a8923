/**
 * Decides whether a failed HTTP call can have reached the other side. Shared by all adapters, since a mistake here charges
 * somebody twice: only what proves that no byte left is `not_sent`.
 */

/**
 * Failed while connecting or looking the name up, so before anything was written. The error's code is not enough: an
 * established connection can fail with EHOSTUNREACH too.
 */
const neverConnected = (error: Error): boolean =>
  ('syscall' in error && (error.syscall === 'connect' || error.syscall === 'getaddrinfo')) || ('code' in error && error.code === 'UND_ERR_CONNECT_TIMEOUT')

/** The fields in which libraries put the error that they wrap. */
const WRAPPED = ['cause', '__cause__', 'detail', 'raw'] as const

/** The error, its causes, and what an attempt at several addresses met at each. */
const chain = (error: unknown): Error[] => {
  if (!(error instanceof Error)) return []
  const inner = WRAPPED.map((name) => (error as unknown as Record<string, unknown>)[name])
  return [error, ...inner.flatMap(chain), ...(error instanceof AggregateError ? error.errors.flatMap(chain) : [])]
}

const socketCodeOf = (error: Error): string | undefined => ('code' in error && typeof error.code === 'string' ? error.code.toLowerCase() : undefined)

/** The part of an outcome that says whether a provider has refused the credentials, by its HTTP status. */
export const credentialsRefusedBy = (httpStatus: number): { credentialsRefused?: true } =>
  httpStatus === 401 || httpStatus === 403 ? { credentialsRefused: true } : {}

export const transportFailure = (error: unknown): { status: 'not_sent' | 'unknown'; pspCode: string } => {
  const errors = chain(error)
  const refused = errors.find(neverConnected)
  if (refused) return { status: 'not_sent', pspCode: socketCodeOf(refused) ?? 'not_connected' }
  if (errors.some(({ name }) => name === 'TimeoutError' || name === 'AbortError')) return { status: 'unknown', pspCode: 'timeout' }
  return { status: 'unknown', pspCode: errors.map(socketCodeOf).find((code) => code !== undefined) ?? 'no_answer' }
}
