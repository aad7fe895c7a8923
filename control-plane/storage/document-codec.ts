/**
 * Between a document as it is stored and as commands know it, by its mongoose schema. On the way in it is validated and
 * cast, with mongoose's own types, casts and validators, but without making a mongoose document of it: that costs ten
 * times as much, and was most of what a write cost. On the way out an older form is brought up to date, and a form that
 * only a newer version knows is refused.
 */
import type mongoose from 'mongoose'
import { AppError } from '../../common/errors.ts'
import type { DocumentMigration } from '../schemas/migrations.ts'

type Values = Record<PropertyKey, unknown>
type Read = (value: unknown) => unknown
type Check = (value: unknown, path: string, met: Met) => unknown

/** The findings of a check. */
interface Met {
  fieldsOfNewer: boolean
}

/** The fields that mongoose has on its schema types and does not declare. */
interface SchemaType {
  instance: string
  schema?: mongoose.Schema
  isRequired?: boolean
  options: Values
  /** The type of an array's elements. */
  embeddedSchemaType?: SchemaType
  cast(value: unknown): unknown
  doValidateSync(value: unknown, scope: unknown): Error | undefined
}

/**
 * The fields of an object that this version does not know: a newer one wrote them. A spread copies them, so whoever
 * changes a document keeps them without knowing; an answer to a caller does not show them.
 */
const FIELDS_OF_NEWER = Symbol('fields of a newer version')

const invalid = (path: string, why: string): Error => new Error(`${path}: ${why}`)

const checkArray = (type: SchemaType): Check => {
  const checkElement = type.schema ? checkObject(type.schema) : checkValue(type.embeddedSchemaType as SchemaType)
  return (value, path, met) => {
    if (!Array.isArray(value)) throw invalid(path, 'is not an array')
    return value.map((element, n) => checkElement(element, `${path}.${n}`, met))
  }
}

const checkValue = (type: SchemaType): Check => {
  if (type.instance === 'Mixed') return (value) => value
  if (type.instance === 'Array') return checkArray(type)
  if (type.schema) return checkObject(type.schema)
  return (value, path) => {
    const cast = type.cast(value)
    const error = type.doValidateSync(cast, undefined)
    if (error) throw invalid(path, error.message)
    return cast
  }
}

const defaultOf = ({ instance, options }: SchemaType): (() => unknown) | undefined => {
  if (instance === 'Array' && !('default' in options)) return () => []
  return options.default === undefined ? undefined : () => options.default
}

/** A field that no schema names is a mistake of ours, and never stored in silence. */
const checkObject = (schema: mongoose.Schema): Check => {
  const fields = new Map<string, { check: Check; required: boolean; makeDefault: (() => unknown) | undefined }>()
  schema.eachPath((name, declared) => {
    const type = declared as unknown as SchemaType
    fields.set(name, { check: checkValue(type), required: type.isRequired === true, makeDefault: defaultOf(type) })
  })
  return (value, path, met) => {
    if (typeof value !== 'object' || value === null) throw invalid(path, 'is not an object')
    const given = value as Values
    const result: Values = {}
    for (const name in given) if (!fields.has(name) && given[name] !== undefined) throw invalid(`${path}.${name}`, 'is not in the schema')
    for (const [name, { check, required, makeDefault }] of fields) {
      const said = given[name] === undefined ? makeDefault?.() : given[name]
      if (said === undefined || said === null) {
        if (required) throw invalid(`${path}.${name}`, 'is required')
        if (said === null) result[name] = null
      } else result[name] = check(said, `${path}.${name}`, met)
    }
    const ofNewer = given[FIELDS_OF_NEWER]
    if (!ofNewer) return result
    met.fieldsOfNewer = true
    return { ...result, ...ofNewer }
  }
}

/** How a value of this type is read; undefined where it is the same as stored. It changes objects in place: they are nobody else's yet. */
const readValue = (type: SchemaType): Read | undefined => {
  if (type.instance === 'Date') return (value) => (typeof value === 'string' ? new Date(value) : value)
  if (type.instance === 'Array') {
    const readElement = type.schema ? readObject(type.schema) : type.embeddedSchemaType && readValue(type.embeddedSchemaType)
    return readElement && ((value) => (Array.isArray(value) ? value.map(readElement) : value))
  }
  return type.schema && readObject(type.schema)
}

const readObject = (schema: mongoose.Schema): Read => {
  const fields = new Map<string, { read: Read | undefined; nullable: boolean }>()
  schema.eachPath((name, declared) => {
    const type = declared as unknown as SchemaType
    fields.set(name, { read: readValue(type), nullable: type.isRequired === true || type.options.nullable === true })
  })
  return (value) => {
    if (typeof value !== 'object' || value === null) return value
    const stored = value as Values
    let ofNewer: Values | undefined
    for (const name in stored) {
      const field = fields.get(name)
      // MongoDB and documents of earlier versions can hold null for what is absent.
      if (field && stored[name] === null && !field.nullable) delete stored[name]
      else if (field?.read) stored[name] = field.read(stored[name])
      else if (!field) {
        ofNewer ??= {}
        ofNewer[name] = stored[name]
        delete stored[name]
      }
    }
    if (ofNewer) stored[FIELDS_OF_NEWER] = ofNewer
    return stored
  }
}

export interface EncodedDocument {
  /** The document that the store gets. */
  stored: Record<string, unknown>
  /** The same as commands know it, once the store has it: `stored` is not to be used after that. */
  known(): unknown
}

export interface DocumentCodec {
  /** The version that documents are stored in; one that is stored in a later one is of a newer Tollgate. */
  version: number
  /** @throws Error when the document does not satisfy its schema. */
  write(document: object): EncodedDocument
  /** The document in its present form; what is given may be changed. @throws AppError `newer_version`. */
  fromStored(stored: object): unknown
}

/** @param refine what else makes a document of one that its schema has read. */
export const createCodec = (
  schema: mongoose.Schema,
  name: string,
  noun: string,
  { version, migrations }: { version: number; migrations: readonly DocumentMigration[] },
  refine: (document: never) => unknown = (document) => document,
): DocumentCodec => {
  const [check, read] = [checkObject(schema), readObject(schema)]
  const fromStored = (stored: object): unknown => {
    const storedAs = (stored as { schemaVersion?: number | null }).schemaVersion ?? 1
    if (storedAs > version)
      throw new AppError('newer_version', `this ${noun} was stored by a newer version of Tollgate: ask again, and finish the upgrade if the error stays`)
    const older = migrations.filter(({ to }) => to > storedAs)
    const present = older.reduce((document, { migrate }) => migrate(document), stored as Record<string, unknown>)
    return refine(read(present) as never)
  }
  return {
    version,
    write: (document) => {
      const met: Met = { fieldsOfNewer: false }
      // Version 1 goes without saying, so that the versions that did not know of it yet can read it.
      const stored = check(version === 1 ? document : { ...document, schemaVersion: version }, name, met) as Record<string, unknown>
      // What commands gave they know; only the fields of a newer version have to be put out of their sight again.
      return { stored, known: () => (met.fieldsOfNewer ? fromStored(stored) : stored) }
    },
    fromStored,
  }
}
