/** The files of `conformance/`, held against their schema. */
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Ajv } from 'ajv'

const folder = fileURLToPath(new URL('../../conformance/', import.meta.url))

export interface Source {
  id: string
  by?: 'grant' | 'subscription'
  mode?: string
  from?: string
  until?: string
  entitlements: object[]
}

interface Use {
  customer?: 'nobody'
  entitlement: string
  amount?: number
  idempotencyKey?: string
  holder?: string
  ttlMs?: number
  as?: string
}

interface Settlement {
  reservation: string
  amount?: number
}

/** What an answer says, in the words of the files. */
export type Said = Record<string, unknown>

export const calls = ['check', 'consume', 'reserve', 'commit', 'release', 'giveBack'] as const
export type CallName = (typeof calls)[number]

export interface Step extends Partial<Record<CallName, Use & Settlement>> {
  expect?: Said
  time?: string
  add?: Source
  remove?: string
}

export interface Case {
  file: string
  name: string
  now: string
  sources: Source[]
  steps: Step[]
}

const read = (name: string) => JSON.parse(readFileSync(`${folder}${name}`, 'utf8'))

/** @throws Error for a file that is not by the schema. */
export const readCases = (): Case[] => {
  const isByTheSchema = new Ajv({ allErrors: true, allowUnionTypes: true, strictRequired: false }).compile(read('schema.json'))
  return readdirSync(folder)
    .filter((name) => name.endsWith('.json') && name !== 'schema.json')
    .toSorted()
    .flatMap((name) => {
      const content = read(name)
      if (!isByTheSchema(content)) throw new Error(`conformance/${name}: ${JSON.stringify(isByTheSchema.errors)}`)
      return (content as { cases: Omit<Case, 'file'>[] }).cases.map((one) => ({ ...one, file: name.replace('.json', '') }))
    })
}
