import type { ServerResponse } from 'node:http'
import { type Fault, FaultyBody } from './api-double-faults.ts'
import type { Lists } from './api-double-lists.ts'
import { type Change, type Collection, type KubeObject, Refusal, type Storage } from './api-double-store.ts'

/** A client that does not read is cut off here, as a real server does it. */
const MAX_UNSENT = 64 * 1024 * 1024

interface WatchOptions {
  readonly lists: Lists
  readonly storage: Storage
  readonly collection: Collection
  readonly namespace: string | undefined
  readonly wants: (object: KubeObject) => boolean
  readonly query: URLSearchParams
  readonly partial: boolean
  readonly response: ServerResponse
  readonly fault: Fault | undefined
  readonly bookmarkMs: number
  readonly goneAs: 'event' | 'http'
}

/** One watch: what it missed, then what happens, until its time is over. */
export class Watch {
  readonly #options: WatchOptions
  readonly #body: FaultyBody
  #timers: NodeJS.Timeout[] = []

  constructor(options: WatchOptions) {
    this.#options = options
    this.#body = new FaultyBody(options.response, options.fault)
  }

  get resource(): string {
    return this.#options.collection.type.plural
  }

  /** @throws Refusal 410 */
  start(): void {
    const { response, collection, fault, query, goneAs } = this.#options
    const version = query.get('resourceVersion') ?? ''
    const isGone = version !== '' && version !== '0' && Number(version) < collection.compacted
    const gone = `too old resource version: ${version} (${collection.compacted})`
    if (isGone && goneAs === 'http') throw new Refusal(410, 'Expired', gone)
    response.writeHead(200, { 'content-type': 'application/json' })
    response.flushHeaders()
    if (fault?.kind === 'event') return void response.end(`${JSON.stringify(fault.event)}\n`)
    if (fault?.kind === 'raw') return void response.end(fault.text)
    if (isGone) this.#error(gone)
    else this.#follow(version)
  }

  #follow(version: string): void {
    const { response, collection } = this.#options
    this.#catchUp(version)
    const listener = (change: Change): void => this.#tell(change)
    collection.listeners.add(listener)
    response.once('close', () => {
      collection.listeners.delete(listener)
      for (const timer of this.#timers) clearTimeout(timer)
      this.#timers = []
    })
    this.#startTimers()
  }

  close(how: 'end' | 'reset' | 'error'): void {
    if (how === 'reset') this.#options.response.socket?.resetAndDestroy()
    else if (how === 'end') this.#options.response.end()
    else this.#error('The resourceVersion for the provided watch is too old.')
  }

  #catchUp(version: string): void {
    const { collection, namespace, wants, lists, partial } = this.#options
    if (version === '' || version === '0') {
      const present = collection.sorted(namespace).filter(wants)
      for (const object of present) this.#body.write(lists.line('ADDED', object, partial))
      return
    }
    for (const change of collection.history) if (change.revision > Number(version)) this.#tell(change)
  }

  #tell(change: Change): void {
    const { namespace, lists, wants, partial, response } = this.#options
    if (namespace !== undefined && change.object.metadata.namespace !== namespace) return
    const line = lists.event(change, wants, partial)
    if (line !== '') this.#body.write(line)
    if (response.writableLength > MAX_UNSENT) response.destroy()
  }

  #startTimers(): void {
    const { query, lists, collection, partial, bookmarkMs, response } = this.#options
    const seconds = Number(query.get('timeoutSeconds') ?? 0)
    if (seconds > 0) this.#timers.push(setTimeout(() => response.end(), seconds * 1000))
    if (query.get('allowWatchBookmarks') !== 'true') return
    this.#timers.push(setInterval(() => this.#body.write(lists.bookmark(collection, partial)), bookmarkMs))
  }

  #error(message: string): void {
    const object = {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message,
      reason: 'Expired',
      code: 410,
    }
    this.#options.response.end(`${JSON.stringify({ type: 'ERROR', object })}\n`)
  }
}
