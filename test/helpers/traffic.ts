import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { Writable } from 'node:stream'
import type { LabHost, LabNode } from '../../lab/index.ts'
import type { SenderConfig } from './sender.ts'

const SENDER = new URL('sender.ts', import.meta.url).pathname

/** Datagrams on their way out of a pod, counted by their sender. */
export class Traffic {
  readonly #child: ChildProcess
  #said = ''

  private constructor(child: ChildProcess) {
    this.#child = child
    child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.#said += text
    })
  }

  /** Resolves when the first datagram is about to leave. */
  static async start(from: LabHost, config: SenderConfig): Promise<Traffic> {
    const args = ['--import', 'tsx', SENDER, JSON.stringify(config)]
    const traffic = new Traffic(from.run(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] }))
    while (!traffic.#said.includes('sending')) {
      if (traffic.#child.exitCode !== null) throw new Error('The sender ended before it began')
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    return traffic
  }

  /** Ends it. @returns datagrams that the kernel took */
  async stop(): Promise<number> {
    const closed = once(this.#child, 'close')
    ;(this.#child.stdin as Writable).end()
    await closed
    return this.#sent()
  }

  /** Waits until a sender with a count is through. @returns datagrams that the kernel took */
  async ended(): Promise<number> {
    if (this.#child.exitCode === null) await once(this.#child, 'close')
    return this.#sent()
  }

  #sent(): number {
    const { sent, failed } = JSON.parse(this.#said.trimEnd().split('\n').at(-1)!) as { sent: number; failed: number }
    if (failed > 0) throw new Error(`${failed} datagrams could not be sent`)
    return sent
  }
}

/** What a device counted, seen from the node: rx is what came from the pod. */
export interface DeviceCounters {
  readonly rxPackets: number
  readonly rxBytes: number
  readonly txPackets: number
  readonly txBytes: number
}

/** Counters of the node's devices, by name. */
export async function deviceCounters(node: LabNode): Promise<Map<string, DeviceCounters>> {
  const { stdout } = await node.exec('ip', ['-json', '-stats', 'link', 'show'])
  const links = JSON.parse(stdout) as {
    ifname: string
    stats64: Record<'rx' | 'tx', { packets: number; bytes: number }>
  }[]
  return new Map(
    links.map(({ ifname, stats64: { rx, tx } }) => [
      ifname,
      { rxPackets: rx.packets, rxBytes: rx.bytes, txPackets: tx.packets, txBytes: tx.bytes },
    ]),
  )
}
