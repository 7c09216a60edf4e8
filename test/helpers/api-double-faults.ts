import type { ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { disposable } from '../../base/lifetime.ts'

export type Verb = 'list' | 'watch' | 'get' | 'create' | 'update' | 'patch' | 'delete'

/** Which requests a fault meets; what is left out fits all. */
export interface FaultMatch {
  readonly verb?: Verb
  /** Plural of a resource. */
  readonly resource?: string
  /** Requests that it meets before it lifts itself; for ever unless given. */
  readonly times?: number
}

/**
 * What goes wrong:
 *
 *   status    an error with a v1.Status body, or another body
 *   reset     the connection is reset: at once, or so long after the answer began
 *   truncate  the answer ends, in good order for HTTP, after so many bytes
 *   hang      the connection is held and nothing is sent
 *   silent    headers, then nothing: a half-open connection
 *   slow      so many bytes a second
 *   event     200, one watch event as given, then the end
 *   raw       200 and this text
 */
export type Fault =
  | {
      readonly kind: 'status'
      readonly code: number
      readonly reason?: string
      readonly message?: string
      readonly retryAfterSecs?: number
      readonly body?: string
    }
  | { readonly kind: 'reset'; readonly afterMs?: number }
  | { readonly kind: 'truncate'; readonly bytes: number }
  | { readonly kind: 'hang' }
  | { readonly kind: 'silent' }
  | { readonly kind: 'slow'; readonly bytesPerSecond: number }
  | { readonly kind: 'event'; readonly event: object }
  | { readonly kind: 'raw'; readonly text: string }

interface Active {
  readonly match: FaultMatch
  readonly fault: Fault
  left: number
}

/** Faults in force, newest first. */
export class Faults {
  readonly #active = new Set<Active>()

  add(match: FaultMatch, fault: Fault): Disposable {
    const active: Active = { match, fault, left: match.times ?? Number.POSITIVE_INFINITY }
    this.#active.add(active)
    return disposable(() => this.#active.delete(active))
  }

  /** The fault that meets a request, used up by one. */
  take(verb: Verb, resource: string): Fault | undefined {
    for (const active of [...this.#active].reverse()) {
      const { match } = active
      if (match.verb !== undefined && match.verb !== verb) continue
      if (match.resource !== undefined && match.resource !== resource) continue
      active.left--
      if (active.left <= 0) this.#active.delete(active)
      return active.fault
    }
    return undefined
  }
}

/** A body on its way, as the fault lets it. */
export class FaultyBody {
  readonly #response: ServerResponse
  readonly #fault: Fault | undefined
  #sent = 0
  #queue: Promise<void> = Promise.resolve()

  constructor(response: ServerResponse, fault: Fault | undefined) {
    this.#response = response
    this.#fault = fault
    if (fault?.kind === 'reset') {
      const timer = setTimeout(() => response.socket?.resetAndDestroy(), fault.afterMs ?? 0)
      response.once('close', () => clearTimeout(timer))
    }
  }

  get isOpen(): boolean {
    return !this.#response.writableEnded && !this.#response.destroyed
  }

  write(text: string): void {
    if (!this.isOpen || this.#fault?.kind === 'silent') return
    if (this.#fault?.kind === 'truncate') {
      const bytes = Buffer.from(text)
      const room = this.#fault.bytes - this.#sent
      this.#sent += bytes.length
      if (bytes.length <= room) this.#response.write(bytes)
      else this.#response.end(bytes.subarray(0, room))
    } else if (this.#fault?.kind === 'slow') {
      this.#queue = this.#queue.then(() => this.#dribble(Buffer.from(text)))
    } else {
      this.#response.write(text)
    }
  }

  end(): void {
    if (this.#fault?.kind === 'silent') return
    void this.#queue.then(() => {
      if (this.isOpen) this.#response.end()
    })
  }

  async #dribble(bytes: Buffer): Promise<void> {
    const step = Math.max(1, Math.floor((this.#fault as { bytesPerSecond: number }).bytesPerSecond / 50))
    for (let at = 0; at < bytes.length && this.isOpen; at += step) {
      this.#response.write(bytes.subarray(at, at + step))
      await sleep(20)
    }
  }
}
