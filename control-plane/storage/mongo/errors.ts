/** The errors of the driver and the server that mean that storage is away for now. */
import mongoose from 'mongoose'
import { AppError } from '../../../common/errors.ts'

const { mongo } = mongoose

/**
 * https://www.mongodb.com/docs/manual/reference/error-codes/. Elections and shutdowns; a majority that was not reached in
 * time, after which the write may stand or not, as after a lost answer; and (1) a server of another make whose own store
 * is away, which has no better code for it.
 */
const AWAY: readonly (number | string | undefined)[] = [
  1, // InternalError
  6, // HostUnreachable
  7, // HostNotFound
  50, // MaxTimeMSExpired
  64, // WriteConcernFailed
  89, // NetworkTimeout
  91, // ShutdownInProgress
  100, // UnsatisfiableWriteConcern
  133, // FailedToSatisfyReadPreference
  134, // ReadConcernMajorityNotAvailableYet
  189, // PrimarySteppedDown
  202, // NetworkInterfaceExceededTimeLimit
  262, // ExceededTimeLimit
  9001, // SocketException
  10107, // NotWritablePrimary
  11600, // InterruptedAtShutdown
  11602, // InterruptedDueToReplStateChange
  13435, // NotPrimaryNoSecondaryOk
  13436, // NotPrimaryOrSecondary
]
const LABELS = [mongo.MongoErrorLabel.RetryableWriteError, mongo.MongoErrorLabel.PoolRequestedRetry]
/** The driver's own, which it does not export: no connection of the pool became free in time. */
const POOL_NAMES = ['MongoWaitQueueTimeoutError', 'MongoPoolClearedError', 'MongoPoolClearedOnNetworkError', 'MongoPoolClosedError']
const DUPLICATE_KEY = 11000

const isAway = (error: unknown): boolean => {
  if (error instanceof mongoose.Error.MongooseServerSelectionError) return true
  if (!(error instanceof mongo.MongoError)) return false
  return (
    error instanceof mongo.MongoServerSelectionError ||
    error instanceof mongo.MongoNotConnectedError ||
    error instanceof mongo.MongoTopologyClosedError ||
    error instanceof mongo.MongoNetworkError ||
    error instanceof mongo.MongoOperationTimeoutError ||
    POOL_NAMES.includes(error.name) ||
    LABELS.some((label) => error.hasErrorLabel(label)) ||
    (error.code !== undefined && AWAY.includes(error.code))
  )
}

export const isDuplicateKey = (error: unknown): boolean => error instanceof mongo.MongoServerError && error.code === DUPLICATE_KEY

/** @throws AppError `unavailable` for a server that is away, one in an election, and one that does not answer in time. */
export const orMongoUnavailable = async <T>(work: () => Promise<T>): Promise<T> => {
  try {
    return await work()
  } catch (error) {
    if (isAway(error)) throw new AppError('unavailable', 'storage (MongoDB) cannot be reached', [], { cause: error })
    throw error
  }
}
