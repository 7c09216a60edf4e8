import { readFile, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { errorText, SluiceError } from '../../base/errors.ts'
import { Follower } from '../../base/follower.ts'
import { type Logger, silentLogger } from '../../base/logger.ts'
import { traced } from '../../base/tracing.ts'
import type { MetadataSink, MetadataSource, TelemetrySink, TelemetrySource } from '../../model/contracts.ts'
import { type Metadata, parseMetadata } from './file.ts'

/** A file of the most pods that fit is some 40 MB. */
const MAX_BYTES = 64 * 1024 * 1024
/** Changes within this time are read once. */
const SETTLE_MS = 50
/** Where the file system gives no notice (some network mounts), a change is found by looking. */
const POLL_MS = 5000

export interface StaticMetadataOptions {
  readonly path: string
  readonly log?: Logger
  readonly settleMs?: number
  readonly pollMs?: number
}

/**
 * Metadata from a YAML file (docs/metadata.md), followed as it changes. A change is read and checked as a whole before
 * anything of it is used; a file with a mistake changes nothing, is told in the log, counted in `failures` and kept in
 * `lastError` until a good one comes.
 */
export class StaticMetadata implements MetadataSource, TelemetrySource {
  readonly name = 'static'
  /** Times that a change could not be used. */
  failures = 0
  /** Times that the file was taken into use. */
  loads = 0
  /** Why the file as it is now is not in use; empty when it is. */
  lastError = ''
  readonly #path: string
  readonly #log: Logger
  #sink: MetadataSink | undefined
  #current: Metadata = { pods: [], nodes: [], services: [], cidrs: [] }
  #version = ''
  /** The file as it was when it could not be used: it is not read again until it changes. */
  #badVersion = ''
  readonly #follower: Follower

  constructor(options: StaticMetadataOptions) {
    this.#path = options.path
    this.#log = options.log ?? silentLogger
    const { settleMs = SETTLE_MS, pollMs = POLL_MS } = options
    this.#follower = new Follower({ settleMs, pollMs, look: () => this.#reload() })
  }

  /** Rejects with SLUICE_METADATA_INVALID when the file cannot be read or has mistakes. */
  async start(sink: MetadataSink, signal: AbortSignal): Promise<void> {
    this.#sink = sink
    await traced('metadata load', { 'file.path': this.#path }, () => this.#load())
    if (signal.aborted || this.#follower.isDisposed) return
    signal.addEventListener('abort', () => void this[Symbol.asyncDispose](), { once: true })
    const failure = this.#follower.watch(dirname(this.#path))
    if (failure !== undefined) {
      this.#log.debug(
        { path: this.#path, err: errorText(failure) },
        'Cannot watch the metadata file: looking every 5 s',
      )
    }
    this.#follower.start()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#follower[Symbol.asyncDispose]()
  }

  collect(sink: TelemetrySink): void {
    sink.counter('sluice_metadata_loads_total', 'Times the metadata file was taken into use', this.loads)
    const help = 'Times a change of the metadata file could not be used; the last good one stayed in force'
    sink.counter('sluice_metadata_failures_total', help, this.failures)
  }

  async #reload(): Promise<void> {
    try {
      await traced('metadata load', { 'file.path': this.#path }, () => this.#load())
    } catch (error) {
      const text = errorText(error)
      if (text === this.lastError) return
      this.failures++
      this.lastError = text
      this.#log.error({ path: this.#path, err: text }, 'Metadata file cannot be used: the last good one stays in force')
    }
  }

  async #load(): Promise<void> {
    const version = await this.#readVersion()
    if (version === this.#version) {
      // It was away, or another one stood in its place; now it is back as it was.
      this.#badVersion = ''
      this.lastError = ''
      return
    }
    if (version === this.#badVersion) return
    let text: string
    try {
      text = await readFile(this.#path, 'utf8')
    } catch (error) {
      throw unreadable(this.#path, errorText(error), error)
    }
    this.#badVersion = version
    const next = parseMetadata(text, this.#path)
    this.#version = version
    this.#badVersion = ''
    this.lastError = ''
    this.loads++
    this.#apply(next)
  }

  /** What changes with the file: a file that is as it was is not read again. */
  async #readVersion(): Promise<string> {
    let size: number
    let version: string
    try {
      const info = await stat(this.#path, { bigint: true })
      size = Number(info.size)
      version = `${info.dev}:${info.ino}:${info.size}:${info.mtimeNs}`
    } catch (error) {
      throw unreadable(this.#path, errorText(error), error)
    }
    if (size > MAX_BYTES) throw unreadable(this.#path, `it has ${size} bytes, want at most ${MAX_BYTES}`)
    return version
  }

  #apply(next: Metadata): void {
    const sink = this.#sink!
    const old = this.#current
    this.#current = next
    const key = (entry: { readonly namespace: string; readonly name: string }) => `${entry.namespace}/${entry.name}`
    diff(
      old.nodes,
      next.nodes,
      ({ name }) => name,
      (node) => sink.deleteNode(node.name),
      (node) => sink.upsertNode(node),
    )
    diff(
      old.services,
      next.services,
      key,
      (gone) => sink.deleteService(gone.namespace, gone.name),
      (service) => sink.upsertService(service),
    )
    diff(
      old.pods,
      next.pods,
      key,
      (gone) => sink.deletePod(gone.namespace, gone.name),
      (pod) => sink.upsertPod(pod),
    )
    if (JSON.stringify(old.cidrs) !== JSON.stringify(next.cidrs)) sink.setCidrs(next.cidrs)
    const { pods, nodes, services, cidrs } = next
    const counts = { pods: pods.length, nodes: nodes.length, services: services.length, cidrs: cidrs.length }
    this.#log.info({ path: this.#path, ...counts }, 'Metadata file is in force')
  }
}

/** Deletes what is gone, then gives on what is new or has changed. */
function diff<T>(
  old: readonly T[],
  next: readonly T[],
  key: (entry: T) => string,
  remove: (entry: T) => void,
  upsert: (entry: T) => void,
): void {
  const before = new Map(old.map((entry) => [key(entry), entry]))
  const after = new Set(next.map(key))
  for (const [name, entry] of before) if (!after.has(name)) remove(entry)
  for (const entry of next) {
    const known = before.get(key(entry))
    if (known === undefined || JSON.stringify(known) !== JSON.stringify(entry)) upsert(entry)
  }
}

function unreadable(path: string, why: string, cause?: unknown): SluiceError {
  return new SluiceError('SLUICE_METADATA_INVALID', `Cannot read metadata file "${path}": ${why}`, {
    cause,
    remedy: 'Check that the file exists and that the agent may read it',
  })
}
