import { dirname } from 'node:path'
import { errorText } from '../base/errors.ts'
import { Follower } from '../base/follower.ts'
import { type Logger, silentLogger } from '../base/logger.ts'
import { readRegularFile } from '../base/regular-file.ts'
import { type DynamicMetrics, parseDynamicMetrics } from '../filters/resources/hubble-config.ts'
import type { TelemetrySink, TelemetrySource } from '../model/contracts.ts'

/** Changes within this time are read once. */
const SETTLE_MS = 200
/** Hubble looks every 10 s; a change that gives notice is read at once. */
const POLL_MS = 5000

export interface DynamicMetricsFileOptions {
  readonly path: string
  /**
   * Takes what the file says, undefined when there is no file. Throws SluiceError when the metrics cannot be had: then
   * what was taken before stays.
   */
  readonly onMetrics: (metrics: DynamicMetrics | undefined) => void
  readonly logger?: Logger
  readonly settleMs?: number
  readonly pollMs?: number
}

/** Hubble's dynamic metrics file, followed as it changes. One that cannot be used leaves what it said before. */
export class DynamicMetricsFile implements TelemetrySource, AsyncDisposable {
  /** Times that the file was taken into use, or its absence. */
  loads = 0
  /** Times that a change could not be used. */
  failures = 0
  /** Why the file as it is now is not in use; '' when it is. */
  lastError = ''
  readonly #options: DynamicMetricsFileOptions
  readonly #log: Logger
  /** Text as it was last looked at; undefined: no file. */
  #text: string | undefined | null = null
  readonly #follower: Follower

  constructor(options: DynamicMetricsFileOptions) {
    this.#options = options
    this.#log = options.logger ?? silentLogger
    const { settleMs = SETTLE_MS, pollMs = POLL_MS } = options
    this.#follower = new Follower({ settleMs, pollMs, look: () => this.#look() })
  }

  /** Takes the file into use as it is. A mistake in it is told and leaves the metrics of the configuration. */
  async start(): Promise<void> {
    await this.#look()
    const { path } = this.#options
    const failure = this.#follower.watch(dirname(path))
    if (failure !== undefined) {
      this.#log.debug({ path, err: errorText(failure) }, 'Cannot watch the dynamic metrics file: looking now and then')
    }
    this.#follower.start()
  }

  collect(sink: TelemetrySink): void {
    sink.counter('sluice_dynamic_metrics_loads_total', 'Times the dynamic metrics file was taken into use', this.loads)
    const help = 'Times a change of the dynamic metrics file could not be used; what it said before stayed'
    sink.counter('sluice_dynamic_metrics_failures_total', help, this.failures)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#follower[Symbol.asyncDispose]()
  }

  /** Never rejects. */
  async #look(): Promise<void> {
    const { path, onMetrics } = this.#options
    try {
      const text = await this.#read(path)
      if (text === this.#text) return
      this.#text = text
      onMetrics(text === undefined ? undefined : parseDynamicMetrics(text, path))
      this.loads++
      this.lastError = ''
      this.#log.info({ path, isThere: text !== undefined }, 'Dynamic metrics are in use')
    } catch (error) {
      const message = errorText(error)
      if (message === this.lastError) return
      this.failures++
      this.lastError = message
      this.#log.error({ path, err: message }, 'Dynamic metrics cannot be used: what was said before stays')
    }
  }

  /** A file that could not be read for a while is taken anew, also when it is as it was. */
  async #read(path: string): Promise<string | undefined> {
    try {
      return await readText(path)
    } catch (error) {
      this.#text = null
      throw error
    }
  }
}

/** As much as a ConfigMap holds. */
const MAX_BYTES = 1 << 20

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readRegularFile(path, MAX_BYTES)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
