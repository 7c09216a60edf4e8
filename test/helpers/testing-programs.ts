import { fileURLToPath } from 'node:url'
import { BpfObject, type BpfProgram } from '../../native/index.ts'

const OBJECT = fileURLToPath(new URL('../../bpf/build/testing.bpf.o', import.meta.url))

/** Numbers of the programs of bpf/testing.bpf.c in its map `runs`. */
const RUN_INDEX = { count_all: 1, drop_port_9: 2, to_peer: 3 } as const

/** bpf/testing.bpf.c, loaded: programs of somebody else. */
export class TestingPrograms implements Disposable {
  readonly #object: BpfObject
  readonly #programs = new Map<string, BpfProgram>()

  /** @param targetIfindex where to_peer sends */
  constructor(targetIfindex = 0) {
    this.#object = BpfObject.open(OBJECT)
    const value = Buffer.alloc(4)
    value.writeUInt32LE(targetIfindex)
    this.#object.setConstant('target_ifindex', value)
    this.#object.load()
  }

  program(name: 'empty' | keyof typeof RUN_INDEX): BpfProgram {
    let program = this.#programs.get(name)
    if (!program) {
      program = this.#object.program(name)
      this.#programs.set(name, program)
    }
    return program
  }

  /** How many packets a program has seen. */
  runs(name: keyof typeof RUN_INDEX): number {
    using map = this.#object.map('runs')
    const key = Buffer.alloc(4)
    key.writeUInt32LE(RUN_INDEX[name])
    const value = Buffer.alloc(8)
    map.lookup(key, value)
    return Number(value.readBigUInt64LE())
  }

  [Symbol.dispose](): void {
    for (const program of this.#programs.values()) program[Symbol.dispose]()
    this.#object[Symbol.dispose]()
  }
}
