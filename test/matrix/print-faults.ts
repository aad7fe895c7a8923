import { providerNames } from '../support/psp/index.ts'
import { type Cell, printMatrix, runProvider } from './fault-matrix.ts'

const cells: Cell[] = []
for (const provider of providerNames) cells.push(...(await runProvider(provider)))
process.stdout.write(`${printMatrix(cells)}\n`)
process.exitCode = cells.some(({ wrong }) => wrong.length > 0) ? 1 : 0
