import { addon, type MapDefinition, type ObjectHandle } from './addon.ts'
import { BpfMap } from './map.ts'
import { BpfProgram } from './program.ts'

/**
 * A compiled bpf object (*.bpf.o) on its way into the kernel: open, adapt, load, take maps and programs, dispose.
 * What was taken lives on. Every method throws an Error with the kernel's reason; load()'s carries the end of the
 * verifier's log.
 */
export class BpfObject implements Disposable {
  readonly #handle: ObjectHandle

  private constructor(handle: ObjectHandle) {
    this.#handle = handle
  }

  static open(path: string): BpfObject {
    return new BpfObject(addon().objectOpen(path))
  }

  maps(): MapDefinition[] {
    return addon().objectMaps(this.#handle)
  }

  programs(): { name: string; section: string; type: number }[] {
    return addon().objectPrograms(this.#handle)
  }

  /** The `const volatile` variables. */
  constants(): { name: string; size: number }[] {
    return addon().objectConstants(this.#handle)
  }

  setMaxEntries(map: string, entries: number): void {
    addon().objectSetMaxEntries(this.#handle, map, entries)
  }

  /** Load will use an existing map; it must have the declared type and sizes. */
  reuseMap(name: string, map: BpfMap): void {
    addon().objectReuseMap(this.#handle, name, map.fd)
  }

  /** @param value of exactly the variable's size, little-endian */
  setConstant(name: string, value: Uint8Array): void {
    addon().objectSetConstant(this.#handle, name, value)
  }

  setAutoload(program: string, load: boolean): void {
    addon().objectSetAutoload(this.#handle, program, load)
  }

  load(): void {
    addon().objectLoad(this.#handle)
  }

  map(name: string): BpfMap {
    return new BpfMap(addon().objectMapFd(this.#handle, name))
  }

  program(name: string): BpfProgram {
    return new BpfProgram(addon().objectProgramFd(this.#handle, name))
  }

  [Symbol.dispose](): void {
    addon().objectClose(this.#handle)
  }
}
