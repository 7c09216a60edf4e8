import { execFileSync } from 'node:child_process'

/**
 * A node whose pods come and go: a namespace, and one per pod with a veth between. Pods are made as container runtimes
 * do: namespace, veth, address, up. All of it is gone after dispose, also what an earlier run of this name left.
 */
export class ChurnNode implements Disposable {
  readonly name: string
  readonly path: string
  readonly #pods = new Set<number>()

  /** @param name of the test: letters and digits, at most 8 */
  constructor(name: string) {
    this.name = `slkc-${name}`
    this.path = `/run/netns/${this.name}`
    this.#removeAll()
    execFileSync('ip', ['netns', 'add', this.name])
    this.ip(['link set lo up'])
  }

  /** Pods by number, 1 to 250; all with one call of ip. */
  addPods(numbers: readonly number[]): void {
    for (const number of numbers) this.#pods.add(number)
    ip(numbers.map((number) => `netns add ${this.name}-${number}`))
    this.ip(
      numbers.flatMap((number) => [
        `link add pod${number} type veth peer name eth0 netns ${this.name}-${number}`,
        `addr add ${this.gateway(number)}/24 dev pod${number}`,
        `link set pod${number} up`,
      ]),
    )
    for (const number of numbers) {
      ip([`addr add ${this.address(number)}/24 dev eth0`, 'link set eth0 up'], `${this.name}-${number}`)
    }
  }

  removePods(numbers: readonly number[]): void {
    for (const number of numbers) this.#pods.delete(number)
    // The veth goes with its namespace, but only when the kernel gets to it; a runtime deletes it first.
    this.ip(numbers.map((number) => `link del pod${number}`))
    ip(numbers.map((number) => `netns del ${this.name}-${number}`))
  }

  address(number: number): string {
    return `10.78.${number}.2`
  }

  gateway(number: number): string {
    return `10.78.${number}.1`
  }

  /** Commands of ip(8) in the node. */
  ip(lines: readonly string[]): void {
    ip(lines, this.name)
  }

  /** Runs a command in a pod to its end. @returns what it printed */
  exec(number: number, command: string, args: readonly string[]): string {
    return execFileSync('ip', ['netns', 'exec', `${this.name}-${number}`, command, ...args], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 30_000,
    })
  }

  [Symbol.dispose](): void {
    this.#removeAll()
  }

  #removeAll(): void {
    const listed = execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' })
    const names = listed.split('\n').map((line) => line.split(' ')[0]!)
    const ours = names.filter((name) => name === this.name || name.startsWith(`${this.name}-`))
    ip(ours.map((name) => `netns del ${name}`))
  }
}

function ip(lines: readonly string[], netns?: string): void {
  if (lines.length === 0) return
  execFileSync('ip', [...(netns === undefined ? [] : ['-n', netns]), '-batch', '-'], {
    input: `${lines.join('\n')}\n`,
    stdio: ['pipe', 'pipe', 'pipe'],
  })
}
