/**
 * The driver's pool by its own events (https://github.com/mongodb/specifications, connection monitoring and pooling). The
 * driver has a pool for each server; all of them count together here.
 */
import type { Connection } from 'mongoose'
import type { ConnectionPool } from '../storage.ts'

export const watchPool = (connection: Connection): ConnectionPool => {
  const client = connection.getClient()
  const listeners: ((waitedMs: number) => void)[] = []
  let [waiting, inUse] = [0, 0]
  const waited = ({ durationMS }: { durationMS: number }): void => {
    waiting = Math.max(0, waiting - 1)
    for (const listener of listeners) listener(durationMS)
  }
  client.on('connectionCheckOutStarted', () => {
    waiting += 1
  })
  client.on('connectionCheckOutFailed', waited)
  client.on('connectionCheckedOut', (event) => {
    inUse += 1
    waited(event)
  })
  client.on('connectionCheckedIn', () => {
    // Commands that were under way when this began to listen had not been counted.
    inUse = Math.max(0, inUse - 1)
  })
  return { waiting: () => waiting, inUse: () => inUse, onWait: (listener) => void listeners.push(listener) }
}
