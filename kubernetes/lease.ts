import { errorText } from '../base/errors.ts'
import { type Logger, LogLimiter, silentLogger } from '../base/logger.ts'
import { Pause } from '../base/pause.ts'
import { ApiError } from './api-error.ts'
import type { ApiClient } from './client.ts'
import { type ApiObject, RESOURCES } from './resource.ts'

/**
 * A leader that is gone without saying so is followed by another after LEASE_MS and a retry. Agents of a thousand
 * nodes that ask every 20 to 30 s make 40 requests a second, which the server answers from its cache.
 */
const LEASE_MS = 60_000
const RENEW_MS = 20_000
const RETRY_MS = 30_000
/** Of the lease, how much its holder trusts in: it stops before anybody may take over. */
const TRUSTED = 2 / 3
const RELEASE_DEADLINE_MS = 3000

export interface LeaderElectorOptions {
  readonly client: ApiClient
  readonly namespace: string
  /** Of the Lease. */
  readonly name: string
  /** Unique among candidates: the pod's name, the node's. */
  readonly identity: string
  readonly onChange?: (isLeader: boolean) => void
  readonly log?: Logger
  readonly leaseMs?: number
  /** How often the holder renews. */
  readonly renewMs?: number
  /** The longest time between two looks of another candidate; half of it is random. */
  readonly retryMs?: number
  /** Milliseconds of a clock that only goes forward. */
  readonly now?: () => number
  readonly random?: () => number
}

interface LeaseSpec {
  readonly holderIdentity?: string
  readonly leaseDurationSeconds?: number
  readonly acquireTime?: string
  readonly renewTime?: string
  readonly leaseTransitions?: number
}

/**
 * One of several agents is the leader: the one whose name is in a Lease that it keeps renewing. No two clocks are
 * compared: a candidate takes over when it has seen no change of the Lease for the Lease's duration by its own clock,
 * and a leader stops to be one when two thirds of it have passed since it began its last good renewal. Writes carry
 * the version that was read, so of two that take over at once only one does.
 */
export class LeaderElector implements AsyncDisposable {
  /** Times that this one became the leader. */
  acquired = 0
  failures = 0
  /** Why the last attempt failed; empty when it did not. */
  lastError = ''
  readonly #options: Required<Omit<LeaderElectorOptions, 'onChange'>>
  readonly #onChange: (isLeader: boolean) => void
  readonly #limiter = new LogLimiter(60_000)
  readonly #stop = new AbortController()
  readonly #pause = new Pause()
  #lease: ApiObject | undefined
  /** What was seen of the Lease last, and when it was seen first. */
  #seen = ''
  #seenAt = 0
  #leaderUntil = Number.NEGATIVE_INFINITY
  #told = false
  #expiry: NodeJS.Timeout | undefined
  #running: Promise<void> | undefined

  constructor(options: LeaderElectorOptions) {
    const defaults = { leaseMs: LEASE_MS, renewMs: RENEW_MS, retryMs: RETRY_MS, log: silentLogger }
    const clock = { now: () => performance.now(), random: Math.random }
    this.#options = { ...defaults, ...clock, ...options }
    this.#onChange = options.onChange ?? (() => {})
  }

  start(): void {
    this.#running ??= this.#run()
  }

  /** Whether this one is the leader now; asked before each thing that only the leader does. */
  get isLeader(): boolean {
    return this.#options.now() < this.#leaderUntil
  }

  /** Name of the leader as it was seen last, empty when there is none. */
  get holder(): string {
    return this.#spec.holderIdentity ?? ''
  }

  /** Stops to be a candidate; a leader gives the Lease up, so that another follows at once. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    this.#pause.end()
    await this.#running
    const wasLeader = this.isLeader
    clearTimeout(this.#expiry)
    this.#leaderUntil = Number.NEGATIVE_INFINITY
    this.#tell()
    if (!wasLeader) return
    try {
      await this.#release(AbortSignal.timeout(RELEASE_DEADLINE_MS))
    } catch (error) {
      this.#options.log.debug({ err: errorText(error) }, 'cannot give up the lease: it runs out')
    }
  }

  get #spec(): LeaseSpec {
    return (this.#lease?.['spec'] ?? {}) as LeaseSpec
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    const { renewMs, retryMs, random } = this.#options
    while (!signal.aborted) {
      const isGood = await this.#attempt()
      if (signal.aborted) return
      const otherwise = this.isLeader ? renewMs / 4 : retryMs * (0.5 + 0.5 * random())
      // A candidate that met another one's write looks again soon, to know the new leader.
      await this.#pause.wait(this.isLeader && isGood ? renewMs : otherwise)
    }
  }

  /** @returns false when a request failed */
  async #attempt(): Promise<boolean> {
    try {
      await (this.isLeader ? this.#renew() : this.#compete())
      this.lastError = ''
      return true
    } catch (error) {
      if (this.#stop.signal.aborted) return false
      this.failures++
      this.lastError = errorText(error)
      // Somebody else has written: what it is has to be read.
      if (error instanceof ApiError && error.failure === 'conflict') this.#lease = undefined
      const { log, name } = this.#options
      this.#limiter.run('failed', (held) =>
        log.warn({ err: this.lastError, lease: name, held }, 'cannot use the lease'),
      )
      return false
    }
  }

  async #renew(): Promise<void> {
    if (this.#lease === undefined) await this.#read(false)
    if (this.#spec.holderIdentity !== this.#options.identity) {
      this.#leaderUntil = Number.NEGATIVE_INFINITY
      this.#tell()
      return
    }
    await this.#hold({ ...this.#spec, leaseDurationSeconds: this.#leaseSecs, renewTime: microTime() })
  }

  async #compete(): Promise<void> {
    const { identity, now } = this.#options
    if (!(await this.#read(true))) {
      const time = microTime()
      const spec = {
        holderIdentity: identity,
        leaseDurationSeconds: this.#leaseSecs,
        acquireTime: time,
        renewTime: time,
      }
      return this.#hold({ ...spec, leaseTransitions: 0 })
    }
    const old = this.#spec
    const seen = JSON.stringify([old.holderIdentity, old.renewTime, old.acquireTime, old.leaseTransitions])
    if (seen !== this.#seen) {
      this.#seen = seen
      this.#seenAt = now()
    }
    const isFree = (old.holderIdentity ?? '') === '' || old.holderIdentity === identity
    if (!isFree && now() - this.#seenAt < (old.leaseDurationSeconds ?? this.#leaseSecs) * 1000) return
    const transitions = (old.leaseTransitions ?? 0) + (old.holderIdentity === identity ? 0 : 1)
    const time = microTime()
    await this.#hold({
      holderIdentity: identity,
      leaseDurationSeconds: this.#leaseSecs,
      acquireTime: time,
      renewTime: time,
      leaseTransitions: transitions,
    })
  }

  /** @param anyVersion a cached one does @returns false when there is none */
  async #read(anyVersion: boolean): Promise<boolean> {
    const { client, namespace, name } = this.#options
    try {
      const signal = this.#stop.signal
      this.#lease = await client.get(RESOURCES.leases, { namespace, name }, { anyVersion, signal })
      return true
    } catch (error) {
      if (!(error instanceof ApiError && error.failure === 'not_found')) throw error
      this.#lease = undefined
      return false
    }
  }

  /** Writes the Lease in our name; from the time before the request on it is ours. */
  async #hold(spec: LeaseSpec): Promise<void> {
    const { leaseMs, now } = this.#options
    const begun = now()
    await this.#write(spec, this.#stop.signal)
    this.#leaderUntil = begun + leaseMs * TRUSTED
    this.#tell()
    this.#awaitExpiry()
  }

  /** A leader that renews no more is told so when its time is over. */
  #awaitExpiry(): void {
    const leftMs = this.#leaderUntil - this.#options.now()
    clearTimeout(this.#expiry)
    if (leftMs <= 0) this.#tell()
    // Timers have whole milliseconds and may come a little early: then it is waited again.
    else this.#expiry = setTimeout(() => this.#awaitExpiry(), Math.ceil(leftMs)).unref()
  }

  /** A renewal that was cut off may have been written all the same, also after the lease was read: then once more. */
  async #release(signal: AbortSignal): Promise<void> {
    const { client, namespace, name, identity } = this.#options
    for (;;) {
      this.#lease = await client.get(RESOURCES.leases, { namespace, name }, { signal })
      if (this.#spec.holderIdentity !== identity) return
      const given = { ...this.#spec, holderIdentity: '', leaseDurationSeconds: 1, renewTime: microTime() }
      try {
        return await this.#write(given, signal)
      } catch (error) {
        if (!(error instanceof ApiError && error.failure === 'conflict')) throw error
      }
    }
  }

  async #write(spec: LeaseSpec, signal: AbortSignal): Promise<void> {
    const { client, namespace, name } = this.#options
    const place = { namespace, name }
    const { leases } = RESOURCES
    const old = this.#lease
    if (old === undefined) {
      const object = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: place, spec }
      this.#lease = await client.create(leases, place, object, { signal })
    } else {
      this.#lease = await client.replace(leases, place, { ...old, spec }, { signal })
    }
  }

  /** Tells a change, once. */
  #tell(): void {
    const isLeader = this.isLeader
    if (isLeader === this.#told) return
    this.#told = isLeader
    if (isLeader) this.acquired++
    this.#options.log.info({ lease: this.#options.name }, isLeader ? 'this agent leads' : 'this agent leads no more')
    this.#onChange(isLeader)
  }

  get #leaseSecs(): number {
    return Math.max(1, Math.round(this.#options.leaseMs / 1000))
  }
}

/** Now, as Kubernetes' MicroTime: `2026-11-24T10:00:00.000000Z`. Told to people; nobody compares it. */
function microTime(): string {
  return new Date().toISOString().replace('Z', '000Z')
}
