import type { BackendFacts, MetadataSink, ServiceFacts } from '../../model/contracts.ts'
import type { ServiceObject, SliceObject } from './kubernetes-objects.ts'

interface Entry {
  service: ServiceObject | undefined
  readonly slices: Map<string, readonly BackendFacts[]>
  told: ServiceFacts | undefined
}

/** Services with those of their backends that are no pod's, of all their slices; told when that changes. */
export class ServiceBook {
  readonly #sink: MetadataSink
  readonly #entries = new Map<string, Entry>()

  constructor(sink: MetadataSink) {
    this.#sink = sink
  }

  upsertService(service: ServiceObject): void {
    const key = `${service.namespace}/${service.name}`
    const entry = this.#entry(key)
    entry.service = service
    this.#tell(key, entry)
  }

  deleteService({ namespace, name }: ServiceObject): void {
    const key = `${namespace}/${name}`
    const entry = this.#entry(key)
    entry.service = undefined
    this.#tell(key, entry)
  }

  upsertSlice({ namespace, name, service, backends }: SliceObject): void {
    const key = `${namespace}/${service}`
    const entry = this.#entry(key)
    entry.slices.set(name, backends)
    this.#tell(key, entry)
  }

  deleteSlice({ namespace, name, service }: SliceObject): void {
    const key = `${namespace}/${service}`
    const entry = this.#entry(key)
    entry.slices.delete(name)
    this.#tell(key, entry)
  }

  #entry(key: string): Entry {
    let entry = this.#entries.get(key)
    if (entry === undefined) {
      entry = { service: undefined, slices: new Map(), told: undefined }
      this.#entries.set(key, entry)
    }
    return entry
  }

  #tell(key: string, entry: Entry): void {
    const { service, told } = entry
    const backends = unique([...entry.slices.values()].flat())
    const isNothing = service === undefined || (service.ips.length === 0 && backends.length === 0)
    if (isNothing) {
      if (told !== undefined) this.#sink.deleteService(told.namespace, told.name)
      entry.told = undefined
      if (service === undefined && entry.slices.size === 0) this.#entries.delete(key)
      return
    }
    const facts: ServiceFacts = backends.length === 0 ? service : { ...service, backends }
    if (told !== undefined && isSame(told, facts)) return
    entry.told = facts
    this.#sink.upsertService(facts)
  }
}

/** A dual-stack service has its ports in several slices, and slices may overlap while they are split. */
function unique(backends: readonly BackendFacts[]): readonly BackendFacts[] {
  return [...new Map(backends.map((each) => [`${each.ip} ${each.port} ${each.protocol}`, each])).values()]
}

function isSame(a: ServiceFacts, b: ServiceFacts): boolean {
  const text = ({ ips, ports, backends = [] }: ServiceFacts) =>
    JSON.stringify([
      ips,
      ports.map(({ port, protocol }) => [port, protocol]),
      backends.map(({ ip, port, protocol }) => [ip, port, protocol]),
    ])
  return text(a) === text(b)
}
