import { FragmentCache } from '../base/fragment-cache.ts'
import type { Endpoint, Service } from '../model/endpoint.ts'
import type { FlowContext, KernelDropReason } from '../model/flow-view.ts'
import { type MaskTree, projectMessage } from './field-mask.ts'
import { FLOW_FIELD, type FlowFieldSet, NONE } from './flow-fields.ts'
import { WireWriter } from './wire.ts'

/** Labels of one endpoint, or names of one address, stop here: 64 KiB keeps a response far below gRPC's 4 MiB. */
const MAX_LIST_BYTES = 64 * 1024

/** Bytes of one cache: 8,192 endpoints of 1 kB. When labels are longer, fewer are kept. */
const MAX_CACHE_BYTES = 8 << 20

/** Cached bytes of what flows share, tag and length included: ready to be copied into a flow. */
export class FlowFragments {
  readonly source: FragmentCache<Endpoint>
  readonly destination: FragmentCache<Endpoint>
  readonly sourceNames: FragmentCache<readonly string[]>
  readonly destinationNames: FragmentCache<readonly string[]>
  readonly sourceService: FragmentCache<Service | undefined>
  readonly destinationService: FragmentCache<Service | undefined>
  readonly dropReason: FragmentCache<KernelDropReason>
  readonly summary: FragmentCache<string>
  /** By index and name: a device that is renamed gets new bytes. */
  readonly networkInterface: FragmentCache<string>
  readonly #emitterAndNode: Uint8Array
  readonly #nodeLabels: FragmentCache<readonly string[]> | undefined
  readonly #parts: FlowFieldSet['parts']
  readonly #writer = new WireWriter(4096)

  /** @param slots of the endpoint caches; the others are smaller */
  constructor(context: FlowContext, fields: FlowFieldSet, options: { slots: number; version: string }) {
    const { slots } = options
    this.#parts = fields.parts
    const F = FLOW_FIELD
    this.source = new FragmentCache(slots, MAX_CACHE_BYTES, (e) => this.#message(F.source, (w) => writeEndpoint(w, e)))
    this.destination = new FragmentCache(slots, MAX_CACHE_BYTES, (e) =>
      this.#message(F.destination, (w) => writeEndpoint(w, e)),
    )
    this.sourceNames = new FragmentCache(slots, MAX_CACHE_BYTES, (names) => this.#list(F.sourceNames, names))
    this.destinationNames = new FragmentCache(slots, MAX_CACHE_BYTES, (names) => this.#list(F.destinationNames, names))
    this.sourceService = new FragmentCache(512, MAX_CACHE_BYTES, (s) => this.#service(F.sourceService, s))
    this.destinationService = new FragmentCache(512, MAX_CACHE_BYTES, (s) => this.#service(F.destinationService, s))
    this.dropReason = new FragmentCache(256, MAX_CACHE_BYTES, (reason) => this.#text(F.extDropReason, reason.name))
    this.summary = new FragmentCache(1024, MAX_CACHE_BYTES, (text) => this.#text(F.summary, text))
    this.networkInterface = new FragmentCache(1024, MAX_CACHE_BYTES, (name, ifindex) =>
      this.#message(F.networkInterface, (w) => {
        w.uint(1, ifindex)
        w.text(2, name)
      }),
    )
    this.#emitterAndNode = this.#node(context, fields, options.version)
    this.#nodeLabels =
      fields.nodeLabels === NONE
        ? undefined
        : new FragmentCache(1, MAX_CACHE_BYTES, (labels) => this.#list(F.nodeLabels, labels))
  }

  /** What every flow of this node says: emitter, node_name, node_labels. The labels may change while the agent runs. */
  writeNode(out: WireWriter, nodeLabels: readonly string[]): void {
    out.raw(this.#emitterAndNode)
    if (this.#nodeLabels !== undefined) out.raw(this.#nodeLabels.get(0, nodeLabels))
  }

  #node(context: FlowContext, fields: FlowFieldSet, version: string): Uint8Array {
    const pieces: Uint8Array[] = []
    const F = FLOW_FIELD
    if (fields.emitter !== NONE) {
      pieces.push(
        this.#message(F.emitter, (w) => {
          w.text(1, 'Sluice')
          w.text(2, version)
        }),
      )
    }
    if (fields.nodeName !== NONE) pieces.push(this.#text(F.nodeName, context.nodeName))
    return Buffer.concat(pieces)
  }

  #service(field: number, service: Service | undefined): Uint8Array {
    if (service === undefined && !this.#parts.has(field)) return new Uint8Array()
    return this.#message(field, (w) => {
      if (service === undefined) return
      w.text(1, service.name)
      w.text(2, service.namespace)
    })
  }

  #message(field: number, write: (w: WireWriter) => void): Uint8Array {
    const w = this.#writer
    w.at = 0
    w.ensure(64)
    write(w)
    return messageField(field, w.slice(0), this.#parts.get(field))
  }

  #text(field: number, text: string): Uint8Array {
    const w = this.#writer
    w.at = 0
    w.text(field, text)
    return w.slice(0)
  }

  #list(field: number, texts: readonly string[]): Uint8Array {
    const w = this.#writer
    w.at = 0
    writeList(w, field, texts)
    return w.slice(0)
  }
}

/** Tag, length and the wanted part of a message. */
export function messageField(field: number, content: Uint8Array, parts: MaskTree | undefined): Uint8Array {
  const w = new WireWriter(content.length + 32)
  w.tag(field, 2)
  const mark = w.begin()
  if (parts === undefined) w.raw(content)
  else projectMessage(content, parts, w)
  w.end(mark)
  return w.slice(0)
}

function writeEndpoint(w: WireWriter, endpoint: Endpoint): void {
  w.uint(1, endpoint.id)
  w.uint(2, endpoint.identity)
  w.text(3, endpoint.namespace)
  writeList(w, 4, endpoint.labels)
  w.text(5, endpoint.podName)
  for (const workload of endpoint.workloads) {
    w.ensure(16)
    w.tag(6, 2)
    const mark = w.begin()
    w.text(1, workload.name)
    w.text(2, workload.kind)
    w.end(mark)
  }
  w.text(7, endpoint.clusterName)
  w.text(8, endpoint.podUid)
}

function writeList(w: WireWriter, field: number, texts: readonly string[]): void {
  const limit = w.at + MAX_LIST_BYTES
  for (const text of texts) {
    if (w.at + text.length * 3 > limit) return
    w.element(field, text)
  }
}
