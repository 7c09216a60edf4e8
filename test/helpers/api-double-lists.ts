import { randomUUID } from 'node:crypto'
import { selectorOf } from './api-double-select.ts'
import { type Change, type Collection, type KubeObject, Refusal, type Storage } from './api-double-store.ts'

const MAX_SNAPSHOTS = 64

interface Snapshot {
  readonly revision: number
  readonly objects: readonly KubeObject[]
}

const META = { apiVersion: 'meta.k8s.io/v1' }

/** Lists, in pages of one snapshot, and the events of watches. */
export class Lists {
  /** As real servers do for resourceVersion=0: the whole list, whatever the limit. Off: tests of pages are small. */
  ignoresLimitOfCachedLists = false
  readonly #storage: Storage
  readonly #snapshots = new Map<string, Snapshot>()
  readonly #json = new WeakMap<KubeObject, string>()

  constructor(storage: Storage) {
    this.#storage = storage
  }

  /** Continue tokens given until now answer 410 from now on. */
  expireContinues(): void {
    this.#snapshots.clear()
  }

  /** The text of a list. @param partial metadata only */
  list(collection: Collection, namespace: string | undefined, query: URLSearchParams, partial: boolean): string {
    const continued = query.get('continue') ?? ''
    this.#checkVersion(collection, query, continued)
    if (!/^([0-9a-f-]{36}:\d+)?$/.test(continued)) throw new Refusal(400, 'BadRequest', 'continue key is not valid')
    const [id = '', from = '0'] = continued.split(':')
    const snapshot = continued === '' ? this.#snapshot(collection, namespace, query) : this.#snapshots.get(id)
    if (snapshot === undefined || snapshot.revision < collection.compacted) {
      const text = 'The provided continue parameter is too old to display a consistent list result.'
      throw new Refusal(410, 'Expired', text)
    }
    const isCached = query.get('resourceVersion') === '0' && this.ignoresLimitOfCachedLists
    const limit = isCached ? 0 : Number(query.get('limit') ?? 0)
    const start = Number(from)
    const end = limit > 0 ? start + limit : snapshot.objects.length
    const metadata: Record<string, unknown> = { resourceVersion: String(snapshot.revision) }
    if (end < snapshot.objects.length) {
      metadata['continue'] = `${this.#keep(id, snapshot)}:${end}`
      metadata['remainingItemCount'] = snapshot.objects.length - end
    }
    return this.#listText(collection, metadata, snapshot.objects.slice(start, end), partial)
  }

  /** A line of a watch for a change, empty when the watch does not want to see it. */
  event(change: Change, wants: (object: KubeObject) => boolean, partial: boolean): string {
    const before = change.previous !== undefined && wants(change.previous)
    const after = change.type !== 'DELETED' && wants(change.object)
    if (!before && !after) return ''
    if (after) return this.line(before ? 'MODIFIED' : 'ADDED', change.object, partial)
    if (change.type === 'DELETED') return this.line('DELETED', change.object, partial)
    // One that leaves a selection is told as it was in it, with the revision of the change.
    const { resourceVersion } = change.object.metadata
    const left = { ...change.previous!, metadata: { ...change.previous!.metadata, resourceVersion: resourceVersion! } }
    return this.line('DELETED', left, partial)
  }

  line(type: string, object: KubeObject, partial: boolean): string {
    return `{"type":"${type}","object":${this.text(object, partial)}}\n`
  }

  text(object: KubeObject, partial: boolean): string {
    if (partial) return JSON.stringify({ kind: 'PartialObjectMetadata', ...META, metadata: object.metadata })
    let text = this.#json.get(object)
    if (text === undefined) {
      text = JSON.stringify(object)
      this.#json.set(object, text)
    }
    return text
  }

  bookmark(collection: Collection, partial: boolean): string {
    const { group, version, kind } = collection.type
    const own = { kind, apiVersion: group === '' ? version : `${group}/${version}` }
    const metadata = { resourceVersion: String(this.#storage.revision), creationTimestamp: null }
    const object = partial ? { kind: 'PartialObjectMetadata', ...META, metadata } : { ...own, metadata }
    return `${JSON.stringify({ type: 'BOOKMARK', object })}\n`
  }

  #checkVersion(collection: Collection, query: URLSearchParams, continued: string): void {
    const version = query.get('resourceVersion') ?? ''
    const match = query.get('resourceVersionMatch') ?? ''
    if (match !== '' && (version === '' || continued !== '')) {
      const text = 'resourceVersionMatch is forbidden for continue, and unless resourceVersion is provided'
      throw new Refusal(422, 'Invalid', text)
    }
    if (version === '' || version === '0') return
    if (continued !== '') {
      throw new Refusal(400, 'BadRequest', 'specifying resource version is not allowed when using continue')
    }
    if (Number(version) > this.#storage.revision) {
      const text = `Too large resource version: ${version}, current: ${this.#storage.revision}`
      const causes = [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }]
      throw new Refusal(504, 'Timeout', text, { causes, retryAfterSeconds: 1 })
    }
    if (match === 'Exact' && Number(version) < collection.compacted) {
      throw new Refusal(410, 'Expired', `The resourceVersion for the provided list is too old: ${version}`)
    }
  }

  #snapshot(collection: Collection, namespace: string | undefined, query: URLSearchParams): Snapshot {
    const wants = selectorOf(query)
    return { revision: this.#storage.revision, objects: collection.sorted(namespace).filter(wants) }
  }

  #keep(id: string, snapshot: Snapshot): string {
    if (id !== '') return id
    const fresh = randomUUID()
    this.#snapshots.set(fresh, snapshot)
    const [oldest] = this.#snapshots.keys()
    if (this.#snapshots.size > MAX_SNAPSHOTS) this.#snapshots.delete(oldest!)
    return fresh
  }

  #listText(collection: Collection, metadata: object, objects: readonly KubeObject[], partial: boolean): string {
    const { group, version, kind } = collection.type
    const items = objects.map((object) => this.text(object, partial)).join(',')
    const meta = JSON.stringify(metadata)
    if (partial)
      return `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":${meta},"items":[${items}]}\n`
    // Lists of custom resources are maps inside of the server, and their fields come sorted.
    if (group.includes('.') && !group.endsWith('.k8s.io')) {
      return `{"apiVersion":"${group}/${version}","items":[${items}],"kind":"${kind}List","metadata":${meta}}\n`
    }
    const apiVersion = group === '' ? version : `${group}/${version}`
    return `{"kind":"${kind}List","apiVersion":"${apiVersion}","metadata":${meta},"items":[${items}]}\n`
  }
}
