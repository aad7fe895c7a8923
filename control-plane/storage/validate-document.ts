/**
 * Validates and casts a document by its mongoose schema, with mongoose's own types, casts and validators, but without
 * making a mongoose document of it: that costs ten times as much, and was most of what a write cost.
 */
import type mongoose from 'mongoose'

type Values = Record<string, unknown>
type Check = (value: unknown, path: string) => unknown

/** What mongoose has on its schema types and does not declare. */
interface SchemaType {
  instance: string
  schema?: mongoose.Schema
  isRequired?: boolean
  options: Values
  /** Of an array: the type of its elements. */
  embeddedSchemaType?: SchemaType
  cast(value: unknown): unknown
  doValidateSync(value: unknown, scope: unknown): Error | undefined
}

const invalid = (path: string, why: string): Error => new Error(`${path}: ${why}`)

const checkArray = (type: SchemaType): Check => {
  const checkElement = type.schema ? checkObject(type.schema) : checkValue(type.embeddedSchemaType as SchemaType)
  return (value, path) => {
    if (!Array.isArray(value)) throw invalid(path, 'is not an array')
    return value.map((element, n) => checkElement(element, `${path}.${n}`))
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

const checkObject = (schema: mongoose.Schema): Check => {
  const fields = new Map<string, { check: Check; required: boolean; makeDefault: (() => unknown) | undefined }>()
  schema.eachPath((name, declared) => {
    const type = declared as unknown as SchemaType
    fields.set(name, { check: checkValue(type), required: type.isRequired === true, makeDefault: defaultOf(type) })
  })
  return (value, path) => {
    if (typeof value !== 'object' || value === null) throw invalid(path, 'is not an object')
    const given = value as Values
    const result: Values = {}
    for (const name in given) if (!fields.has(name) && given[name] !== undefined) throw invalid(`${path}.${name}`, 'is in no schema')
    for (const [name, { check, required, makeDefault }] of fields) {
      const said = given[name] === undefined ? makeDefault?.() : given[name]
      if (said === undefined || said === null) {
        if (required) throw invalid(`${path}.${name}`, 'is required')
        if (said === null) result[name] = null
      } else result[name] = check(said, `${path}.${name}`)
    }
    return result
  }
}

/** @returns a function that answers the document as its schema wants it stored. @throws Error, from that function, when it does not satisfy it. */
export const validatorOf = (schema: mongoose.Schema, name: string): ((document: object) => Record<string, unknown>) => {
  const check = checkObject(schema)
  return (document) => check(document, name) as Record<string, unknown>
}
