/** The MongoDB, or MongoDB-compatible server, that tests use: whatever MONGODB_URL names. Each caller gets a database of its own. */
import { randomUUID } from 'node:crypto'
import { withDatabase } from '../../common/mongodb-url.ts'

export const mongodbMissing = process.env.MONGODB_URL ? undefined : 'MONGODB_URL is not set'

export const mongodbUrl = (): string => withDatabase(process.env.MONGODB_URL ?? '', `tollgate_test_${randomUUID().slice(0, 8)}`)
