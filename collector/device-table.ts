import { Listeners } from '../base/lifetime.ts'
import { IDENTITY } from '../model/endpoint.ts'
import { type AddressBook, CLAIM } from './address-book.ts'
import type { EndpointVersions } from './endpoint-versions.ts'
import type { EndpointIds } from './identity.ts'

/** Interfaces with a lower ifindex are found in an array, others in a map. */
const DIRECT_IFINDEX = 16_384

/** What is known of one of the node's pod interfaces. */
export interface LocalInterface {
  readonly ifindex: number
  readonly name: string
  /** Addresses inside the pod, as text. */
  readonly ips: readonly string[]
}

/** An interface and what is behind it. */
export interface Device {
  readonly info: LocalInterface
  /** Key of the pod behind it, empty as long as none is known. */
  pod: string
  /** Its own version while no pod is known, 0 else. */
  ownRef: number
  gone: boolean
}

/**
 * The node's pod interfaces and whose they are. An interface without a known pod is an endpoint of its own, unmanaged,
 * so that its traffic is told apart before and without metadata.
 */
export class DeviceTable {
  readonly #versions: EndpointVersions
  readonly #addresses: AddressBook
  readonly #ids: EndpointIds
  readonly #devices = new Map<number, Device>()
  readonly #byIp = new Map<string, Device>()
  readonly #directRefs = new Uint32Array(DIRECT_IFINDEX)
  readonly #refs = new Map<number, number>()
  readonly #changes = new Listeners<number>()

  constructor(versions: EndpointVersions, addresses: AddressBook, ids: EndpointIds) {
    this.#versions = versions
    this.#addresses = addresses
    this.#ids = ids
  }

  get size(): number {
    return this.#devices.size
  }

  /** Version of the endpoint behind an interface, 0 when there is none. Allocates nothing. */
  ref(ifindex: number): number {
    return ifindex < DIRECT_IFINDEX ? this.#directRefs[ifindex]! : (this.#refs.get(ifindex) ?? 0)
  }

  /** Called with the ifindex when somebody else is behind an interface, or nobody any more. */
  onChange(listener: (ifindex: number) => void): Disposable {
    return this.#changes.add(listener)
  }

  ifindexes(): Iterable<number> {
    return this.#devices.keys()
  }

  get(ifindex: number): Device | undefined {
    return this.#devices.get(ifindex)
  }

  byIp(ip: string): Device | undefined {
    return this.#byIp.get(ip)
  }

  /** Adds an interface that nobody is known behind yet: bind() or makeBare() follows. */
  add(info: LocalInterface): Device {
    const device: Device = { info, pod: '', ownRef: 0, gone: false }
    this.#devices.set(info.ifindex, device)
    for (const ip of info.ips) this.#byIp.set(ip, device)
    return device
  }

  bind(device: Device, pod: string, ref: number): void {
    if (device.ownRef !== 0) this.#retireOwn(device)
    device.pod = pod
    this.#setRef(device.info.ifindex, ref)
  }

  makeBare(device: Device): void {
    if (device.ownRef === 0) {
      device.ownRef = this.#versions.add({
        id: this.#ids.acquire(ownKey(device)),
        identity: IDENTITY.UNMANAGED,
        labels: ['reserved:unmanaged'],
        isLocal: true,
      }).ref
    }
    device.pod = ''
    this.#setRef(device.info.ifindex, device.ownRef)
    for (const ip of device.info.ips) this.#addresses.claim(CLAIM.INTERFACE, ip, device.info.name, device.ownRef)
  }

  drop(device: Device): void {
    if (device.ownRef !== 0) this.#retireOwn(device)
    for (const ip of device.info.ips) if (this.#byIp.get(ip) === device) this.#byIp.delete(ip)
    this.#devices.delete(device.info.ifindex)
    this.#setRef(device.info.ifindex, 0)
  }

  #retireOwn(device: Device): void {
    for (const ip of device.info.ips) this.#addresses.unclaim(CLAIM.INTERFACE, ip, device.info.name)
    this.#ids.release(ownKey(device))
    this.#versions.retire(device.ownRef)
    device.ownRef = 0
  }

  #setRef(ifindex: number, ref: number): void {
    if (ifindex < DIRECT_IFINDEX) this.#directRefs[ifindex] = ref
    else if (ref === 0) this.#refs.delete(ifindex)
    else this.#refs.set(ifindex, ref)
    this.#changes.emit(ifindex)
  }
}

function ownKey(device: Device): string {
  return `interface ${device.info.name}`
}
