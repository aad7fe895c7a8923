/** A client in another language: a process that takes calls as lines of JSON, and answers each with a line. */
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { spawnOwned } from '../support/child-processes.ts'
import type { Said } from './cases.ts'
import type { Driver } from './driver.ts'

export const processDriver = (name: string, [program = '', ...args]: string[], address: string): Driver => {
  const child = spawnOwned(program, [...args, address], { stdio: ['pipe', 'pipe', 'inherit'] })
  const waiting: { resolve(said: Said): void; reject(error: Error): void }[] = []
  if (!child.stdin || !child.stdout) throw new Error(`${name} has no standard input and output`)
  const { stdin } = child
  createInterface({ input: child.stdout }).on('line', (line) => waiting.shift()?.resolve(JSON.parse(line)))
  child.once('exit', (code) => {
    for (const { reject } of waiting.splice(0)) reject(new Error(`${name} ended with ${code}`))
  })
  return {
    name,
    ask: (call) =>
      new Promise((resolve, reject) => {
        waiting.push({ resolve, reject })
        stdin.write(`${JSON.stringify(call)}\n`)
      }),
    close: async () => {
      const ended = once(child, 'exit')
      child.kill()
      await ended
    },
  }
}
