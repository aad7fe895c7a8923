/** Questions to control planes, and their answers: requests of NATS, of which one control plane gets each. */
import { headers, type Msg, type NatsConnection, RequestError } from '@nats-io/transport-node'
import { AppError } from '../../errors.ts'
import type { Faults } from '../../faults.ts'

/** @throws AppError `unavailable` when nobody is there; Error when there is no answer in time, or it could not be made. */
export const ask = async (connection: NatsConnection, subject: string, question: Uint8Array, timeoutMs: number): Promise<Uint8Array> => {
  const reply = await connection.request(subject, question, { timeout: timeoutMs }).catch((error: unknown) => {
    if (error instanceof RequestError && error.isNoResponders()) throw new AppError('unavailable', 'no control plane answers', [], { cause: error })
    throw error
  })
  if (reply.headers?.get('error')) throw new Error('the control plane could not answer')
  return reply.data
}

/**
 * The subjects that answers go to: inboxes, and the names that a server gives to inboxes of other accounts. A control plane may publish to more than who
 * asks it; asked to answer to a key of the bucket, it would write there for them.
 */
const ANSWERED = /^(_INBOX|_R_)\./

/**
 * @param handler is given the question, and the subject that it was asked at.
 * @param onStatement is given what comes without a place for an answer. @returns what ends it.
 */
export const answer = (
  connection: NatsConnection,
  subject: string,
  handler: (question: Uint8Array, askedAt: string) => Promise<Uint8Array>,
  faults: Faults,
  onStatement: (message: Msg) => void = () => {},
): (() => void) => {
  const subscription = connection.subscribe(subject, { queue: 'control-planes' })
  const reply = async (message: Msg): Promise<void> => {
    if (!message.reply) return onStatement(message)
    if (!ANSWERED.test(message.reply)) return
    try {
      // It may be more than the server takes: then that it could not be answered is the answer.
      message.respond(await handler(message.data, message.subject))
    } catch (error) {
      faults.tell(error, 'feed: a question could not be answered')
      const failed = headers()
      failed.set('error', 'internal')
      message.respond('', { headers: failed })
    }
  }
  const listen = async () => {
    for await (const message of subscription) reply(message).catch((error: unknown) => faults.tell(error, 'feed: an answer could not be sent'))
  }
  listen().catch((error: unknown) => faults.tell(error, 'feed: questions are no longer received'))
  return () => subscription.unsubscribe()
}
