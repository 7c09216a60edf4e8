import { disposable, Listeners } from '../base/lifetime.ts'
import { LeaderElector, type LeaderElectorOptions } from '../kubernetes/lease.ts'
import type { TelemetrySink, TelemetrySource } from '../model/contracts.ts'

/**
 * Who of the cluster's agents writes what one alone should write: the status of filter resources, the ConfigMaps that
 * show the filters in force.
 */
export interface Leadership {
  /** This agent, at present. Asked before each write. */
  readonly isLeader: boolean
  /** Called when that changes. */
  onChange(listener: (isLeader: boolean) => void): Disposable
}

/** An agent that writes nothing. */
export const NO_LEADERSHIP: Leadership = { isLeader: false, onChange: () => disposable(() => {}) }

/** Leadership of the agent that holds a Lease. */
export class ElectedLeadership implements Leadership, TelemetrySource, AsyncDisposable {
  readonly #listeners = new Listeners<boolean>()
  readonly #elector: LeaderElector

  constructor(options: Omit<LeaderElectorOptions, 'onChange'>) {
    this.#elector = new LeaderElector({ ...options, onChange: (isLeader) => this.#listeners.emit(isLeader) })
  }

  /** Becomes a candidate, and returns at once. */
  start(): void {
    this.#elector.start()
  }

  get isLeader(): boolean {
    return this.#elector.isLeader
  }

  /** Identity of the leader as it was seen last, empty when there is none. */
  get holder(): string {
    return this.#elector.holder
  }

  onChange(listener: (isLeader: boolean) => void): Disposable {
    return this.#listeners.add(listener)
  }

  collect(sink: TelemetrySink): void {
    const { isLeader, acquired, failures } = this.#elector
    sink.gauge('sluice_leader', '1 while this agent writes for all what one of them writes', isLeader ? 1 : 0)
    sink.counter('sluice_leader_acquired_total', 'Times that this agent became the leader', acquired)
    sink.counter('sluice_leader_failures_total', 'Failed requests about the Lease', failures)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#elector[Symbol.asyncDispose]()
  }
}
