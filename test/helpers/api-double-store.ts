import { randomUUID } from 'node:crypto'

/** Any JSON object of the API. */
export interface KubeObject {
  readonly apiVersion?: string
  readonly kind?: string
  readonly metadata: ObjectMeta
  readonly [field: string]: unknown
}

export interface ObjectMeta {
  readonly name?: string
  readonly generateName?: string
  readonly namespace?: string
  readonly uid?: string
  readonly resourceVersion?: string
  readonly generation?: number
  readonly creationTimestamp?: string
  readonly deletionTimestamp?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly finalizers?: readonly string[]
  readonly [field: string]: unknown
}

/** A collection that the double serves. */
export interface ResourceType {
  /** Empty for the core group. */
  readonly group: string
  readonly version: string
  readonly plural: string
  readonly kind: string
  readonly namespaced: boolean
  /** Has a status subresource: writes of the object leave the status alone, writes of the status all else. */
  readonly hasStatus: boolean
}

/** A refusal, as the API server words it in a v1.Status. */
export class Refusal extends Error {
  readonly code: number
  readonly reason: string
  readonly details: object | undefined

  constructor(code: number, reason: string, message: string, details?: object) {
    super(message)
    this.code = code
    this.reason = reason
    this.details = details
  }
}

export interface Change {
  readonly revision: number
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'
  readonly object: KubeObject
  /** The object before; undefined for new ones. */
  readonly previous: KubeObject | undefined
}

/** etcd's part: objects of one type, never changed in place, and the last changes. */
export class Collection {
  readonly type: ResourceType
  readonly objects = new Map<string, KubeObject>()
  /** Changes held for watches, oldest first. */
  history: Change[] = []
  /** Watches from before this revision get 410. */
  compacted = 0
  readonly listeners = new Set<(change: Change) => void>()
  readonly #historyLimit: number

  constructor(type: ResourceType, historyLimit: number) {
    this.type = type
    this.#historyLimit = historyLimit
  }

  record(change: Change): void {
    this.history.push(change)
    if (this.history.length > this.#historyLimit * 1.5) {
      const gone = this.history.splice(0, this.history.length - this.#historyLimit)
      this.compacted = gone.at(-1)!.revision
    }
    for (const listener of this.listeners) listener(change)
  }

  /** Objects sorted by key, as etcd gives them. */
  sorted(namespace: string | undefined): KubeObject[] {
    const keys = [...this.objects.keys()].filter((key) => namespace === undefined || key.startsWith(`${namespace}/`))
    return keys.sort().map((key) => this.objects.get(key)!)
  }
}

export function keyOf(namespace: string | undefined, name: string): string {
  return `${namespace ?? ''}/${name}`
}

/** Objects with revisions, and what the API server does to them when they are written. */
export class Storage {
  readonly #collections = new Map<string, Collection>()
  readonly #historyLimit: number
  #revision = 1000

  constructor(historyLimit: number) {
    this.#historyLimit = historyLimit
  }

  get revision(): number {
    return this.#revision
  }

  define(type: ResourceType): Collection {
    const collection = new Collection(type, this.#historyLimit)
    this.#collections.set(`${type.group}/${type.version}/${type.plural}`, collection)
    return collection
  }

  undefine(type: ResourceType): void {
    this.#collections.delete(`${type.group}/${type.version}/${type.plural}`)
  }

  find(group: string, version: string, plural: string): Collection | undefined {
    return this.#collections.get(`${group}/${version}/${plural}`)
  }

  collections(): Iterable<Collection> {
    return this.#collections.values()
  }

  /** Forgets the past: watches and continue tokens of earlier revisions get 410. */
  compact(): void {
    this.#revision++
    for (const collection of this.#collections.values()) {
      collection.history = []
      collection.compacted = this.#revision
    }
  }

  create(collection: Collection, namespace: string | undefined, given: KubeObject): KubeObject {
    const { type } = collection
    if ((given.metadata.resourceVersion ?? '') !== '') {
      throw new Refusal(400, 'BadRequest', 'resourceVersion should not be set on objects to be created')
    }
    const name = given.metadata.name ?? `${given.metadata.generateName ?? ''}${randomUUID().slice(0, 5)}`
    const key = keyOf(namespace, name)
    if (collection.objects.has(key)) {
      throw new Refusal(409, 'AlreadyExists', `${named(type)} "${name}" already exists`, details(type, name))
    }
    const object: KubeObject = {
      apiVersion: type.group === '' ? type.version : `${type.group}/${type.version}`,
      kind: type.kind,
      ...(type.hasStatus && !isBuiltIn(type) ? without(given, 'status') : given),
      metadata: {
        uid: randomUUID(),
        creationTimestamp: new Date().toISOString().replace(/\.\d+Z$/, 'Z'),
        ...given.metadata,
        name,
        ...(namespace === undefined ? {} : { namespace }),
        generation: 1,
      },
    }
    return this.#store(collection, key, 'ADDED', object, undefined)
  }

  /**
   * A write over an existing object.
   *
   * @param subresource `status`, empty, or `*` for all of the object at once
   * @throws Refusal 404, 409
   */
  update(
    collection: Collection,
    namespace: string | undefined,
    name: string,
    subresource: string,
    change: (old: KubeObject) => KubeObject,
  ): KubeObject {
    const old = this.get(collection, namespace, name)
    const { type } = collection
    const given = change(old)
    const expected = given.metadata?.resourceVersion
    if (expected !== undefined && expected !== '' && expected !== old.metadata.resourceVersion) {
      const text = `Operation cannot be fulfilled on ${named(type)} "${name}": the object has been modified; please apply your changes to the latest version and try again`
      throw new Refusal(409, 'Conflict', text, details(type, name))
    }
    const uid = given.metadata?.uid
    // A status subresource looks at no metadata but the version.
    if (uid !== undefined && uid !== old.metadata.uid && subresource === '') {
      const text = `${type.kind} "${name}" is invalid: metadata.uid: Invalid value: "${uid}": field is immutable`
      const group = type.group === '' ? {} : { group: type.group }
      throw new Refusal(422, 'Invalid', text, { name, ...group, kind: type.kind })
    }
    const next = merged(type, old, given, subresource)
    if (JSON.stringify(next) === JSON.stringify(old)) return old
    const key = keyOf(namespace, name)
    if (next.metadata.deletionTimestamp !== undefined && (next.metadata.finalizers ?? []).length === 0) {
      return this.#remove(collection, key, next)
    }
    return this.#store(collection, key, 'MODIFIED', next, old)
  }

  /** Removes an object, or marks it as terminating when it has finalizers. */
  delete(collection: Collection, namespace: string | undefined, name: string, uid?: string): KubeObject {
    const old = this.get(collection, namespace, name)
    if (uid !== undefined && uid !== old.metadata.uid) {
      const text = `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${old.metadata.uid}`
      throw new Refusal(409, 'Conflict', text, details(collection.type, name))
    }
    const key = keyOf(namespace, name)
    if ((old.metadata.finalizers ?? []).length === 0) return this.#remove(collection, key, old)
    if (old.metadata.deletionTimestamp !== undefined) return old
    const metadata = { ...old.metadata, deletionTimestamp: new Date().toISOString().replace(/\.\d+Z$/, 'Z') }
    return this.#store(collection, key, 'MODIFIED', { ...old, metadata }, old)
  }

  get(collection: Collection, namespace: string | undefined, name: string): KubeObject {
    const object = collection.objects.get(keyOf(namespace, name))
    if (object !== undefined) return object
    throw new Refusal(404, 'NotFound', `${named(collection.type)} "${name}" not found`, details(collection.type, name))
  }

  #store(
    collection: Collection,
    key: string,
    type: 'ADDED' | 'MODIFIED',
    object: KubeObject,
    previous: KubeObject | undefined,
  ): KubeObject {
    const stored = this.#stamped(object)
    collection.objects.set(key, stored)
    collection.record({ revision: this.#revision, type, object: stored, previous })
    return stored
  }

  #remove(collection: Collection, key: string, object: KubeObject): KubeObject {
    collection.objects.delete(key)
    const stored = this.#stamped(object)
    collection.record({ revision: this.#revision, type: 'DELETED', object: stored, previous: object })
    return stored
  }

  #stamped(object: KubeObject): KubeObject {
    this.#revision++
    return Object.freeze({ ...object, metadata: { ...object.metadata, resourceVersion: String(this.#revision) } })
  }
}

/** RFC 7386. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch
  const out: Record<string, unknown> = isObject(target) ? { ...target } : {}
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete out[key]
    else out[key] = mergePatch(out[key], value)
  }
  return out
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function without(object: KubeObject, field: string): KubeObject {
  const { [field]: _, ...rest } = object
  return rest as KubeObject
}

/** What of a write counts; identity and times are the server's. */
function merged(type: ResourceType, old: KubeObject, given: KubeObject, subresource: string): KubeObject {
  const { uid, resourceVersion, creationTimestamp, deletionTimestamp, generation, name, namespace } = old.metadata
  const owned = Object.fromEntries(
    Object.entries({ uid, resourceVersion, creationTimestamp, deletionTimestamp, generation, name, namespace }).filter(
      ([, value]) => value !== undefined,
    ),
  )
  if (subresource === 'status') return { ...old, status: given['status'] }
  const body: KubeObject = { ...given, metadata: { ...given.metadata, ...owned } }
  const next = type.hasStatus && subresource !== '*' ? { ...without(body, 'status'), ...statusOf(old) } : body
  const rest = (object: KubeObject) => JSON.stringify({ ...without(object, 'status'), metadata: undefined })
  if (rest(next) === rest(old)) return next
  return { ...next, metadata: { ...next.metadata, generation: (old.metadata.generation ?? 0) + 1 } }
}

function statusOf(object: KubeObject): object {
  return object['status'] === undefined ? {} : { status: object['status'] }
}

/** Built-in types take a status at creation here, so that a test makes a running pod in one call. */
function isBuiltIn(type: ResourceType): boolean {
  return !type.group.includes('.') || type.group.endsWith('.k8s.io')
}

function named(type: ResourceType): string {
  return type.group === '' ? type.plural : `${type.plural}.${type.group}`
}

function details(type: ResourceType, name: string): object {
  return { name, ...(type.group === '' ? {} : { group: type.group }), kind: type.plural }
}
