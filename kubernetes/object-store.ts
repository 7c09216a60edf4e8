import type { ApiObject } from './resource.ts'

/** What an object is reduced to, with what tells whether it has changed. */
interface Entry<T> {
  uid: string
  resourceVersion: string
  /** The list that has seen it last. */
  epoch: number
  value: T
}

/** What is done with objects that come, change and go; calls are made in order and each once for each version. */
export interface ObjectHandler<T> {
  /** An object as it is kept; undefined when it is of no interest, which counts as not being there. May throw. */
  pick(object: ApiObject): T | undefined
  /** @param before what was kept of the same object (of the same uid) until now */
  onUpsert(now: T, before: T | undefined): void
  onDelete(last: T): void
}

/**
 * The objects of one collection as they are known: which version of each its user has been told. A version is told
 * once, an object that another of the same name replaces is deleted first, and a list of everything deletes what it
 * does not have. Bounded: objects beyond the bound are refused and counted, and tried again when they change.
 */
export class ObjectStore<T> {
  /** Times that an object of interest found no room. */
  refused = 0
  /** Objects that `pick` could not read, or that lack name, uid or version. */
  unreadable = 0
  /** Calls of the handler that threw: mistakes of this program. */
  handlerErrors = 0
  readonly #entries = new Map<string, Entry<T>>()
  readonly #handler: ObjectHandler<T>
  readonly #maxObjects: number
  #epoch = 0

  constructor(handler: ObjectHandler<T>, maxObjects: number) {
    this.#handler = handler
    this.#maxObjects = maxObjects
  }

  get size(): number {
    return this.#entries.size
  }

  get(namespace: string, name: string): T | undefined {
    return this.#entries.get(keyOf(namespace, name))?.value
  }

  *values(): Iterable<T> {
    for (const { value } of this.#entries.values()) yield value
  }

  /** A list begins: what it does not have is gone at its end. */
  beginList(): void {
    this.#epoch++
  }

  upsert(object: ApiObject): void {
    const key = this.#keyOf(object)
    if (key === undefined) return
    const { uid, resourceVersion } = object.metadata
    const known = this.#entries.get(key)
    if (known !== undefined) {
      known.epoch = this.#epoch
      if (known.uid === uid && known.resourceVersion === resourceVersion) return
    }
    const value = this.#pick(object)
    // Of an object that cannot be read the last good version stays, unless it is another one.
    if (value instanceof Unreadable && known?.uid === uid) return
    if (known !== undefined && (known.uid !== uid || value === undefined || value instanceof Unreadable)) {
      this.#entries.delete(key)
      this.#delete(known.value)
    }
    if (value === undefined || value instanceof Unreadable) return
    if (known !== undefined && known.uid === uid) {
      const before = known.value
      known.resourceVersion = resourceVersion
      known.value = value
      this.#upsert(value, before)
    } else if (this.#entries.size >= this.#maxObjects) {
      this.refused++
    } else {
      this.#entries.set(key, { uid, resourceVersion, epoch: this.#epoch, value })
      this.#upsert(value, undefined)
    }
  }

  delete(object: ApiObject): void {
    const key = this.#keyOf(object)
    const known = key === undefined ? undefined : this.#entries.get(key)
    if (key === undefined || known === undefined || known.uid !== object.metadata.uid) return
    this.#entries.delete(key)
    this.#delete(known.value)
  }

  /** A complete list is over: deletes what it did not have. @param breathe awaited between deletions */
  async endList(breathe: () => Promise<void> | undefined): Promise<void> {
    for (const [key, entry] of this.#entries) {
      if (entry.epoch !== this.#epoch) {
        this.#entries.delete(key)
        this.#delete(entry.value)
      }
      const pause = breathe()
      if (pause !== undefined) await pause
    }
  }

  #upsert(now: T, before: T | undefined): void {
    try {
      this.#handler.onUpsert(now, before)
    } catch {
      this.handlerErrors++
    }
  }

  #delete(last: T): void {
    try {
      this.#handler.onDelete(last)
    } catch {
      this.handlerErrors++
    }
  }

  #keyOf(object: ApiObject): string | undefined {
    const { name, namespace = '', uid, resourceVersion } = object.metadata ?? {}
    const isGood = [name, namespace, uid, resourceVersion].every((field) => typeof field === 'string')
    if (isGood && name !== '') return keyOf(namespace, name)
    this.unreadable++
    return undefined
  }

  #pick(object: ApiObject): T | undefined | Unreadable {
    try {
      return this.#handler.pick(object)
    } catch {
      this.unreadable++
      return UNREADABLE
    }
  }
}

class Unreadable {}
const UNREADABLE = new Unreadable()

function keyOf(namespace: string, name: string): string {
  return `${namespace}/${name}`
}
