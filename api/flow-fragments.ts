import type { Endpoint, Service } from '../model/endpoint.ts'
import type { FlowContext, KernelDropReason } from '../model/flow-view.ts'
import { type MaskTree, projectMessage } from './field-mask.ts'
import { FLOW_FIELD, type FlowFieldSet, NONE } from './flow-fields.ts'
import { FragmentCache } from './fragment-cache.ts'
import { WireWriter } from './wire.ts'

/** Labels of one endpoint, or names of one address, stop here: 64 KiB keeps a response far below gRPC's 4 MiB. */
const MAX_LIST_BYTES = 64 * 1024

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
  readonly #emitterAndNode: Uint8Array
  readonly #nodeLabels: FragmentCache<readonly string[]> | undefined
  readonly #parts: FlowFieldSet['parts']
  readonly #writer = new WireWriter(4096)
  readonly #interfaces: Interface[] = []

  /** @param slots of the endpoint caches; the others are smaller */
  constructor(context: FlowContext, fields: FlowFieldSet, options: { slots: number; version: string }) {
    const { slots } = options
    this.#parts = fields.parts
    const F = FLOW_FIELD
    this.source = new FragmentCache(slots, (e) => this.#message(F.source, (w) => writeEndpoint(w, e)))
    this.destination = new FragmentCache(slots, (e) => this.#message(F.destination, (w) => writeEndpoint(w, e)))
    this.sourceNames = new FragmentCache(slots, (names) => this.#list(F.sourceNames, names))
    this.destinationNames = new FragmentCache(slots, (names) => this.#list(F.destinationNames, names))
    this.sourceService = new FragmentCache(512, (s) => this.#service(F.sourceService, s))
    this.destinationService = new FragmentCache(512, (s) => this.#service(F.destinationService, s))
    this.dropReason = new FragmentCache(256, (reason) => this.#text(F.extDropReason, reason.name))
    this.summary = new FragmentCache(1024, (text) => this.#text(F.summary, text))
    this.#emitterAndNode = this.#node(context, fields, options.version)
    this.#nodeLabels =
      fields.nodeLabels === NONE ? undefined : new FragmentCache(1, (labels) => this.#list(F.nodeLabels, labels))
  }

  /** The bytes of `interface`; a device that is renamed gets new ones. */
  interfaceOf(ifindex: number, name: string): Uint8Array {
    const known = this.#interfaces[ifindex & 1023]
    if (known !== undefined && known.ifindex === ifindex && known.name === name) return known.bytes
    const bytes = this.#message(FLOW_FIELD.networkInterface, (w) => {
      w.uint(1, ifindex)
      w.text(2, name)
    })
    this.#interfaces[ifindex & 1023] = { ifindex, name, bytes }
    return bytes
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

interface Interface {
  readonly ifindex: number
  readonly name: string
  readonly bytes: Uint8Array
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
