import { errorText } from '../base/errors.ts'
import { type Logger, LogLimiter, silentLogger } from '../base/logger.ts'
import { Pause } from '../base/pause.ts'
import { ApiError } from '../kubernetes/api-error.ts'
import { Backoff, type BackoffOptions } from '../kubernetes/backoff.ts'
import type { ApiClient } from '../kubernetes/client.ts'
import { type ApiObject, RESOURCES } from '../kubernetes/resource.ts'
import type { TelemetrySink, TelemetrySource } from '../model/contracts.ts'
import type { Leadership } from './leadership.ts'
import { FIELD_MANAGER } from './status-writer.ts'

/** Where a text is shown. */
export interface ShownText {
  /** Name of the ConfigMap. */
  readonly configMap: string
  /** The one key of its data. */
  readonly key: string
}

/** Filters in force as Hubble's own files: where ACNS shows them, under names of our own. */
export const DYNAMIC_METRICS: ShownText = { configMap: 'sluice-dynamic-metrics-config', key: 'dynamic-metrics.yaml' }
export const FLOW_LOGS: ShownText = { configMap: 'sluice-flowlog-config', key: 'flowlogs.yaml' }

export interface ConfigMapsOptions {
  readonly client: ApiClient
  readonly namespace: string
  readonly leadership: Leadership
  readonly log?: Logger
  readonly backoff?: BackoffOptions
  readonly resyncMs?: number
}

interface Wanted {
  readonly shown: ShownText
  readonly make: () => Promise<string>
  text: string | undefined
}

/** As often as ACNS looks: an edit by hand lasts no longer. */
const RESYNC_MS = 30_000
/** etcd takes 1.5 MiB and the API server 1 MiB of data. */
const MAX_BYTES = 1_000_000
const LABELS = { 'app.kubernetes.io/name': 'sluice', 'app.kubernetes.io/managed-by': 'sluice' }
/** Of one round, when others write at the same time. */
const MAX_TRIES = 3

/**
 * Shows texts in ConfigMaps, as long as this agent leads: writes what has changed, looks every 30 s whether they are
 * as they should be, puts back what somebody has edited, and makes again what was deleted. Nobody reads them but people:
 * that it fails keeps no filter from working.
 */
export class ConfigMaps implements TelemetrySource, AsyncDisposable {
  /** Times that a ConfigMap was written: made, changed or put back. */
  writes = 0
  failures = 0
  /** What keeps them from being right at present; empty when nothing does. */
  lastError = ''
  readonly #options: ConfigMapsOptions
  readonly #log: Logger
  readonly #limiter = new LogLimiter(60_000)
  readonly #wanted = new Map<string, Wanted>()
  readonly #pause = new Pause()
  readonly #stop = new AbortController()
  readonly #backoff: Backoff
  readonly #subscription: Disposable
  #isDirty = false
  #running: Promise<void> | undefined

  constructor(options: ConfigMapsOptions) {
    this.#options = options
    this.#log = options.log ?? silentLogger
    this.#backoff = new Backoff(options.backoff)
    this.#subscription = options.leadership.onChange((isLeader) => {
      if (isLeader) this.#wake()
    })
  }

  /** What is to be shown from now on; returns at once. @param make makes the text, once and only where this agent leads */
  show(shown: ShownText, make: () => Promise<string>): void {
    this.#wanted.set(shown.configMap, { shown, make, text: undefined })
    this.#wake()
  }

  collect(sink: TelemetrySink): void {
    const { writes, failures } = this
    sink.counter('sluice_config_map_writes_total', 'ConfigMaps made, changed or put back', writes)
    sink.counter('sluice_config_map_failures_total', 'Failures to look at or write a ConfigMap', failures)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#subscription[Symbol.dispose]()
    this.#stop.abort()
    this.#pause.end()
    await this.#running
  }

  #wake(): void {
    this.#isDirty = true
    this.#pause.end()
    if (this.#stop.signal.aborted) return
    this.#running ??= this.#run()
  }

  async #run(): Promise<void> {
    const { leadership, resyncMs = RESYNC_MS } = this.#options
    while (!this.#stop.signal.aborted) {
      this.#isDirty = false
      const waitMs = leadership.isLeader ? await this.#round() : resyncMs
      if (!this.#isDirty && !this.#stop.signal.aborted) await this.#pause.wait(waitMs)
    }
  }

  /** @returns how long to wait, milliseconds */
  async #round(): Promise<number> {
    const { resyncMs = RESYNC_MS } = this.#options
    try {
      for (const wanted of this.#wanted.values()) {
        wanted.text ??= fitting(await wanted.make())
        await this.#ensure(wanted.shown, wanted.text)
      }
      this.#backoff.reset()
      this.lastError = ''
      return resyncMs
    } catch (error) {
      if (this.#stop.signal.aborted) return 0
      this.failures++
      this.lastError = errorText(error)
      this.#limiter.run('failed', (held) =>
        this.#log.warn({ err: this.lastError, held }, 'cannot show the filters in force in a ConfigMap'),
      )
      return this.#backoff.next(error instanceof ApiError ? error.retryAfterMs : 0)
    }
  }

  async #ensure(shown: ShownText, text: string): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#write(shown, text, await this.#read(shown))
      } catch (error) {
        const isRace = error instanceof ApiError && ['conflict', 'not_found'].includes(error.failure)
        if (!isRace || tries === MAX_TRIES) throw error
      }
    }
  }

  async #read({ configMap }: ShownText): Promise<ApiObject | undefined> {
    const { client, namespace } = this.#options
    try {
      return await client.get(RESOURCES.configMaps, { namespace, name: configMap }, { signal: this.#stop.signal })
    } catch (error) {
      if (error instanceof ApiError && error.failure === 'not_found') return undefined
      throw error
    }
  }

  async #write(shown: ShownText, text: string, stored: ApiObject | undefined): Promise<void> {
    const { client, namespace, leadership } = this.#options
    const { configMap: name, key } = shown
    const data = stored === undefined ? undefined : (stored['data'] ?? {})
    if (!leadership.isLeader || (data !== undefined && isJust(data, key, text))) return
    const options = { fieldManager: FIELD_MANAGER, signal: this.#stop.signal }
    if (data === undefined) {
      const object = {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name, namespace, labels: LABELS },
        data: { [key]: text },
      }
      await client.create(RESOURCES.configMaps, { namespace }, object, options)
    } else {
      const others = Object.keys(data).filter((one) => one !== key)
      const patch = {
        metadata: { resourceVersion: stored!.metadata.resourceVersion },
        data: { ...Object.fromEntries(others.map((one) => [one, null])), [key]: text },
      }
      await client.mergePatch(RESOURCES.configMaps, { namespace, name }, patch, options)
    }
    this.writes++
    this.#log.info({ configMap: name, namespace, isNew: data === undefined }, 'ConfigMap written')
  }
}

/** Whether data has this one entry. */
function isJust(data: object, key: string, text: string): boolean {
  const entries = Object.entries(data)
  return entries.length === 1 && entries[0]![0] === key && entries[0]![1] === text
}

function fitting(text: string): string {
  const size = Buffer.byteLength(text)
  if (size <= MAX_BYTES) return text
  return `# The filters in force take ${size} bytes here, and a ConfigMap holds ${MAX_BYTES}: see \`sluice filters list\`\n`
}
