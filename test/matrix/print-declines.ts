import { declineMatrix, printDeclines } from './decline-matrix.ts'

const rows = declineMatrix()
process.stdout.write(`${printDeclines(rows)}\n\n${rows.length} codes\n`)
