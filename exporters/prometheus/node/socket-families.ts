import type { TelemetrySink } from '../../../model/contracts.ts'
import type { RefreshingSource } from '../scrape.ts'
import { countTcpStates, parseDev, parsePairs, readSmall, sockstat, TCP_STATES } from './proc-net.ts'

/** Sockets are listed at most so often: the kernel walks its whole hash table for it. */
const MIN_INTERVAL_MS = 5_000

const RETINA = 'networkobservability_'

/** Retina's families about the node's own sockets and protocol statistics, from /proc/net. */
export class SocketFamilies implements RefreshingSource {
  readonly #procNet: string
  readonly #now: () => number
  readonly #states = new Uint32Array(TCP_STATES.length)
  #readMs = Number.NEGATIVE_INFINITY
  /** False where /proc of the node's namespace cannot be read: nothing is told then, rather than zeros. */
  #isReadable = false
  #netstat = new Map<string, Map<string, number>>()
  #devices = new Map<string, number>()
  #udpSockets = 0

  /** @param procNet the directory, `/proc/self/net` */
  constructor(procNet: string, now: () => number = Date.now) {
    this.#procNet = procNet
    this.#now = now
  }

  async refresh(): Promise<void> {
    if (this.#now() - this.#readMs < MIN_INTERVAL_MS) return
    this.#readMs = this.#now()
    const file = (name: string) => `${this.#procNet}/${name}`
    const states = new Uint32Array(TCP_STATES.length)
    const [netstat, devices, stat4, stat6] = await Promise.all([
      readSmall(file('netstat')),
      readSmall(file('dev')),
      readSmall(file('sockstat')),
      readSmall(file('sockstat6')),
      countTcpStates(file('tcp'), states),
    ])
    await countTcpStates(file('tcp6'), states)
    this.#isReadable = netstat !== ''
    this.#states.set(states)
    this.#netstat = parsePairs(netstat)
    this.#devices = parseDev(devices)
    this.#udpSockets = sockstat(stat4, 'UDP', 'inuse') + sockstat(stat6, 'UDP6', 'inuse')
  }

  /** Tells one sample of each family, all zero: for the reference of metrics. */
  static describe(sink: TelemetrySink): void {
    const made = new SocketFamilies('')
    made.#isReadable = true
    made.#netstat = new Map(['TcpExt', 'IpExt'].map((section) => [section, new Map([['', 0]])]))
    made.#devices = new Map([['', 0]])
    made.collect(sink)
  }

  collect(sink: TelemetrySink): void {
    if (!this.#isReadable) return
    this.#collectTcp(sink)
    for (const section of ['TcpExt', 'MPTcpExt']) {
      this.#statistics(sink, 'tcp_connection_stats', 'TCP statistics', this.#netstat.get(section))
    }
    this.#statistics(sink, 'ip_connection_stats', 'IP statistics', this.#netstat.get('IpExt'))
    this.#statistics(sink, 'udp_connection_stats', 'UDP statistics', new Map([['ACTIVE', this.#udpSockets]]))
    for (const [statistic, value] of this.#devices) {
      sink.gauge(`${RETINA}interface_stats`, 'Statistics of the node’s devices', value, {
        interface_name: 'all_interfaces',
        statistic_name: statistic,
      })
    }
  }

  #collectTcp(sink: TelemetrySink): void {
    const byName = new Map<string, number>()
    TCP_STATES.forEach((name, state) => {
      byName.set(name, (byName.get(name) ?? 0) + this.#states[state]!)
    })
    let remote = 0
    for (const [state, sockets] of byName) {
      sink.gauge(`${RETINA}tcp_state`, 'TCP sockets by state', sockets, { state })
      if (state !== 'LISTEN') remote += sockets
    }
    sink.gauge(`${RETINA}tcp_connection_remote`, 'TCP sockets with a remote end', remote, { address: 'AllIPs' })
  }

  #statistics(sink: TelemetrySink, name: string, help: string, entries: ReadonlyMap<string, number> = new Map()): void {
    for (const [statistic, value] of entries) {
      sink.gauge(`${RETINA}${name}`, help, value, { statistic_name: statistic })
    }
  }
}
