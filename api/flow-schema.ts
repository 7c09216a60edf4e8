import { BinaryReader } from '@bufbuild/protobuf/wire'
import { FILE_DESCRIPTOR_SET } from './gen/descriptors.ts'

/** A field of a message, as far as field masks need it. */
export interface SchemaField {
  readonly name: string
  readonly number: number
  readonly isRepeated: boolean
  /** Member of a oneof: absent when another member is set. */
  readonly isOneof: boolean
  /** Full name of its type when that is a message, else empty. */
  readonly message: string
}

export type SchemaMessage = ReadonlyMap<string, SchemaField>

let schema: ReadonlyMap<string, SchemaMessage> | undefined

/** Fields of a message by name. @param name full name, `flow.Flow` @throws when api/proto has no such message */
export function messageSchema(name: string): SchemaMessage {
  schema ??= parseFiles(descriptorFiles())
  const message = schema.get(name)
  if (message === undefined) throw new Error(`No message "${name}" in api/proto`)
  return message
}

/** Every file of api/proto and what they import, as encoded google.protobuf.FileDescriptorProto. */
export function descriptorFiles(): Buffer[] {
  const files: Buffer[] = []
  eachField(Buffer.from(FILE_DESCRIPTOR_SET, 'base64'), (field, bytes) => {
    if (field === 1 && typeof bytes !== 'number') files.push(Buffer.from(bytes))
  })
  return files
}

function parseFiles(files: readonly Uint8Array[]): Map<string, SchemaMessage> {
  const messages = new Map<string, SchemaMessage>()
  for (const file of files) {
    let packageName = ''
    eachField(file, (field, value) => {
      if (field === 2) packageName = text(value)
    })
    eachField(file, (field, value) => {
      if (field === 4) parseMessage(bytes(value), packageName, messages)
    })
  }
  return messages
}

function parseMessage(descriptor: Uint8Array, scope: string, messages: Map<string, SchemaMessage>): void {
  let name = ''
  const fields = new Map<string, SchemaField>()
  const nested: Uint8Array[] = []
  eachField(descriptor, (field, value) => {
    if (field === 1) name = text(value)
    else if (field === 2) {
      const parsed = parseField(bytes(value))
      fields.set(parsed.name, parsed)
    } else if (field === 3) nested.push(bytes(value))
  })
  const full = `${scope}.${name}`
  messages.set(full, fields)
  for (const inner of nested) parseMessage(inner, full, messages)
}

/** google.protobuf.FieldDescriptorProto: name 1, number 3, label 4, type 5, type_name 6, oneof_index 9. */
function parseField(descriptor: Uint8Array): SchemaField {
  const LABEL_REPEATED = 3
  const TYPE_MESSAGE = 11
  let name = ''
  let number = 0
  let label = 0
  let type = 0
  let typeName = ''
  let isOneof = false
  eachField(descriptor, (field, value) => {
    if (field === 1) name = text(value)
    else if (field === 3) number = Number(value)
    else if (field === 4) label = Number(value)
    else if (field === 5) type = Number(value)
    else if (field === 6) typeName = text(value).slice(1)
    else if (field === 9) isOneof = true
  })
  return { name, number, isRepeated: label === LABEL_REPEATED, isOneof, message: type === TYPE_MESSAGE ? typeName : '' }
}

/** Calls back with each field of an encoded message; numbers for varints, bytes for length-delimited values. */
function eachField(message: Uint8Array, visit: (field: number, value: number | Uint8Array) => void): void {
  const reader = new BinaryReader(message)
  while (reader.pos < reader.len) {
    const tag = reader.uint32()
    if ((tag & 7) === 0) visit(tag >>> 3, Number(reader.uint64()))
    else if ((tag & 7) === 2) visit(tag >>> 3, reader.bytes())
    else reader.skip(tag & 7)
  }
}

function bytes(value: number | Uint8Array): Uint8Array {
  return typeof value === 'number' ? new Uint8Array() : value
}

function text(value: number | Uint8Array): string {
  return Buffer.from(bytes(value)).toString('utf8')
}
