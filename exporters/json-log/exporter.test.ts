import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import type { Logger } from '../../base/logger.ts'
import { ALL_KINDS, CONSUMER_BITS, type FlowJudge, type RuleSet } from '../../filters/rules.ts'
import type { FlowView } from '../../model/flow-view.ts'
import { TestFlowStore } from '../../test/helpers/flow-store.ts'
import { type JsonLogOptions, resolveJsonLogOptions } from './config.ts'
import { type JsonLogDependencies, JsonLogExporter } from './exporter.ts'

let directory: string
let path: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'sluice-log-'))
  path = join(directory, 'hubble', 'events.log')
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
})

async function start(options: JsonLogOptions = {}, dependencies: JsonLogDependencies = {}): Promise<JsonLogExporter> {
  const resolved = resolveJsonLogOptions({ path, retryMinMs: 5, retryMaxMs: 20, ...options })
  const exporter = new JsonLogExporter(resolved, dependencies)
  onTestFinished(() => exporter[Symbol.asyncDispose]())
  await exporter.start(new AbortController().signal)
  return exporter
}

/** A judge of the log alone. */
function judge(keep: (view: FlowView) => boolean): FlowJudge {
  const wants = (bit: number, view: FlowView) => bit === CONSUMER_BITS.LOG && keep(view)
  return { wants, wouldTake: wants }
}

/** Rules that have the log on or off, or do not know of it. */
function rules(isOn: boolean | undefined): RuleSet {
  if (isOn === undefined) return { consumers: [] }
  return { consumers: [{ name: 'log', bit: CONSUMER_BITS.LOG, kinds: ALL_KINDS, isOn, rules: [] }] }
}

/** Adds flows whose source ports count up from `from`, and hands them over. */
function feed(exporter: JsonLogExporter, store: TestFlowStore, from: number, count: number): void {
  const first = store.push(
    ...Array.from({ length: count }, (_, i) => ({ srcPort: 1 + ((from + i) % 65_535), bytes: from + i + 1 })),
  )
  exporter.accept(store, first, store.end)
}

/** `bytes` of each flow of a file: the number that feed() gave it. */
function numbersIn(file: string): number[] {
  const content = file.endsWith('.gz') ? gunzipSync(readFileSync(file)) : readFileSync(file)
  const text = content.toString()
  expect(text === '' || text.endsWith('\n')).toBe(true)
  const lines = text.split('\n').slice(0, -1)
  return lines.map((line) => JSON.parse(line).flow?.extensions.value.bytes as number).filter((it) => it !== undefined)
}

function allNumbers(): number[] {
  const files = readdirSync(join(directory, 'hubble')).sort()
  // `events.log` sorts behind `events-...`
  return files.flatMap((name) => numbersIn(join(directory, 'hubble', name)))
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i + 1)

/** A logger that keeps what it is told. */
function recorder(): { logger: Logger; messages: string[] } {
  const messages: string[] = []
  const log = (_: object, message: string) => void messages.push(message)
  const logger: Logger = { debug: log, info: log, warn: log, error: log, child: () => logger }
  return { logger, messages }
}

function metrics(exporter: JsonLogExporter): Record<string, number> {
  const all: Record<string, number> = {}
  const add = (name: string, _: string, value: number, labels: Readonly<Record<string, string>> = {}) => {
    all[[name, ...Object.values(labels)].join(' ')] = value
  }
  exporter.collect({ counter: add, gauge: add })
  return all
}

async function until(what: () => boolean): Promise<void> {
  const deadline = Date.now() + 10_000
  while (!what()) {
    if (Date.now() > deadline) throw new Error('did not come about within 10 s')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** Descriptors that this process has of a file. */
function openFiles(file: string): number {
  const targets = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`)
    } catch {
      return ''
    }
  })
  return targets.filter((target) => target === file).length
}

describe('JsonLogExporter', () => {
  test('writes one line per flow, in order, and settles them', async () => {
    const exporter = await start()
    const store = new TestFlowStore(4096)
    feed(exporter, store, 0, 1000)
    expect(exporter.settled).toBe(0)
    feed(exporter, store, 1000, 1000)
    await exporter.flush(5000)
    expect(exporter.settled).toBe(2000)
    expect(numbersIn(path)).toEqual(upTo(2000))
    expect(exporter.ledger.toJSON()).toMatchObject({ accepted: 2000, delivered: 2000, waiting: 0, difference: 0 })
  })

  test('makes directories with mode 0755 and the file with the mode asked for, whatever the umask', async () => {
    const umask = process.umask(0o077)
    onTestFinished(() => void process.umask(umask))
    await start({ fileMode: 0o640 })
    expect(statSync(path).mode & 0o777).toBe(0o640)
    process.umask(0o022)
    path = join(directory, 'other', 'events.log')
    await start()
    expect(statSync(join(directory, 'other')).mode & 0o777).toBe(0o755)
    expect(statSync(path).mode & 0o777).toBe(0o600)
  })

  test('goes on behind the lines of an earlier run, after cutting a torn one', async () => {
    mkdirSync(join(directory, 'hubble'))
    writeFileSync(path, '{"flow":{"extensions":{"value":{"bytes":7}}}}\n{"flow":{"time":"2026-')
    const { logger, messages } = recorder()
    const exporter = await start({}, { logger })
    const store = new TestFlowStore(16)
    feed(exporter, store, 0, 1)
    await exporter.flush(5000)
    expect(numbersIn(path)).toEqual([7, 1])
    expect(messages).toContain('Log ended in half a line, which was cut off')
    expect(metrics(exporter)['sluice_log_repaired_bytes_total']).toBe(22)
  })

  test('tells of its trouble from the start, before there is anything to write', async () => {
    // A link that points nowhere: the folder cannot be made, and may be there later.
    symlinkSync(join(directory, 'later', 'logs'), join(directory, 'hubble'))
    const exporter = await start()
    expect(exporter.trouble).toBe('io_error')
    mkdirSync(join(directory, 'later', 'logs'), { recursive: true })
    feed(exporter, new TestFlowStore(), 0, 1)
    await exporter.flush(5000)
    expect([exporter.trouble, allNumbers()]).toEqual([undefined, [1]])
  })

  test('rotates before the limit, never cuts a line and loses none', async () => {
    const exporter = await start({ maxFileBytes: 1_048_576, chunkBytes: 131_072, maxBackups: 50 })
    const store = new TestFlowStore(16_384)
    for (let i = 0; i < 10; i++) {
      feed(exporter, store, i * 1000, 1000)
      await exporter.flush(5000)
    }
    await exporter.backupsSettled()
    const names = readdirSync(join(directory, 'hubble'))
    expect(names.length).toBeGreaterThan(5)
    for (const name of names) expect(statSync(join(directory, 'hubble', name)).size).toBeLessThanOrEqual(1_048_576)
    expect(allNumbers()).toEqual(upTo(10_000))
    expect(metrics(exporter)).toMatchObject({
      sluice_log_rotations_total: names.length - 1,
      sluice_log_backups: names.length - 1,
    })
  })

  test('keeps the number of backups and compresses them', async () => {
    const exporter = await start({ maxFileBytes: 1_048_576, maxBackups: 2, compress: true })
    const store = new TestFlowStore(16_384)
    for (let i = 0; i < 8; i++) {
      feed(exporter, store, i * 1000, 1000)
      await exporter.flush(5000)
    }
    await exporter.backupsSettled()
    const names = readdirSync(join(directory, 'hubble')).sort()
    expect(names).toHaveLength(3)
    expect(names.filter((name) => /^events-[-T\d.]+\.log\.gz$/.test(name))).toHaveLength(2)
    const kept = allNumbers()
    expect(kept).toEqual(upTo(8000).slice(-kept.length))
  })

  test('starts a new file when the old one was deleted, and loses nothing accepted later', async () => {
    const { logger, messages } = recorder()
    const exporter = await start({}, { logger })
    const store = new TestFlowStore(64)
    feed(exporter, store, 0, 3)
    await exporter.flush(5000)
    rmSync(path)
    feed(exporter, store, 3, 3)
    await exporter.flush(5000)
    expect(numbersIn(path)).toEqual([4, 5, 6])
    expect(messages.some((message) => message.includes('deleted by somebody else'))).toBe(true)
    expect(metrics(exporter)['sluice_log_file_changes_total deleted']).toBe(1)
  })

  test('makes the directory again when it was deleted', async () => {
    const exporter = await start()
    const store = new TestFlowStore(64)
    rmSync(join(directory, 'hubble'), { recursive: true })
    feed(exporter, store, 0, 3)
    await exporter.flush(5000)
    expect(numbersIn(path)).toEqual([1, 2, 3])
  })

  test('starts a new file when logrotate renamed the old one', async () => {
    const exporter = await start()
    const store = new TestFlowStore(64)
    feed(exporter, store, 0, 3)
    await exporter.flush(5000)
    renameSync(path, `${path}.1`)
    feed(exporter, store, 3, 3)
    await exporter.flush(5000)
    expect([numbersIn(`${path}.1`), numbersIn(path)]).toEqual([
      [1, 2, 3],
      [4, 5, 6],
    ])
    expect(metrics(exporter)['sluice_log_file_changes_total renamed']).toBe(1)
  })

  test('writes whole lines after somebody truncated the file, in the middle of a line too', async () => {
    const exporter = await start()
    const store = new TestFlowStore(64)
    feed(exporter, store, 0, 3)
    await exporter.flush(5000)
    truncateSync(path, 0)
    feed(exporter, store, 3, 3)
    await exporter.flush(5000)
    expect(numbersIn(path)).toEqual([4, 5, 6])
    truncateSync(path, statSync(path).size - 10)
    feed(exporter, store, 6, 1)
    await exporter.flush(5000)
    expect(numbersIn(path)).toEqual([4, 5, 7])
    expect(metrics(exporter)['sluice_log_file_changes_total truncated']).toBe(2)
  })

  test('cuts what somebody appended without a newline', async () => {
    const exporter = await start()
    const store = new TestFlowStore(64)
    feed(exporter, store, 0, 1)
    await exporter.flush(5000)
    appendFileSync(path, 'half a li')
    feed(exporter, store, 1, 1)
    await exporter.flush(5000)
    expect(numbersIn(path)).toEqual([1, 2])
  })

  test('goes on by itself when something stood in the place of the directory', async () => {
    const { logger, messages } = recorder()
    const exporter = await start({}, { logger })
    const store = new TestFlowStore(64)
    rmSync(join(directory, 'hubble'), { recursive: true })
    writeFileSync(join(directory, 'hubble'), 'in the way')
    feed(exporter, store, 0, 3)
    await until(() => messages.some((message) => message.startsWith('Cannot write to')))
    expect(exporter.settled).toBe(0)
    expect(metrics(exporter)).toMatchObject({ sluice_log_up: 0, sluice_log_waiting_flows: 3 })
    rmSync(join(directory, 'hubble'))
    await exporter.flush(5000)
    expect(numbersIn(path)).toEqual([1, 2, 3])
    expect(messages).toContain('Log is written again')
    expect(metrics(exporter)['sluice_log_up']).toBe(1)
  })

  test('counts what the history overwrote while the disk did not write, and says so in the log', async () => {
    const exporter = await start({ maxHeldFlows: 100 })
    const store = new TestFlowStore(256)
    rmSync(join(directory, 'hubble'), { recursive: true })
    writeFileSync(join(directory, 'hubble'), 'in the way')
    feed(exporter, store, 0, 10)
    await until(() => metrics(exporter)['sluice_log_write_errors_total io_error']! > 0)
    for (let i = 0; i < 20; i++) feed(exporter, store, 10 + i * 50, 50)
    expect(exporter.settled).toBe(910)
    expect(metrics(exporter)['sluice_log_released_flows']).toBe(910)
    rmSync(join(directory, 'hubble'))
    await exporter.flush(5000)
    const numbers = numbersIn(path)
    const lost = exporter.ledger.lostByReason.get('io_error')!
    expect(lost).toBe(1010 - numbers.length)
    expect(numbers.slice(-256)).toEqual(upTo(1010).slice(-256))
    expect(new Set(numbers).size).toBe(numbers.length)
    expect(exporter.ledger.toJSON()).toMatchObject({ accepted: 1010, waiting: 0, difference: 0 })
    const notes = readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line.startsWith('{"lost_events"'))
    expect(notes).toHaveLength(1)
    expect(JSON.parse(notes[0]!)).toMatchObject({
      lost_events: { source: 'HUBBLE_RING_BUFFER', num_events_lost: String(lost) },
      node_name: 'node-1',
    })
  })

  test('counts flows that the filter leaves out', async () => {
    const exporter = await start({}, { judge: judge((view) => view.bytes % 2 === 0) })
    const store = new TestFlowStore(16_384)
    feed(exporter, store, 0, 10_000)
    await exporter.flush(5000)
    expect(numbersIn(path)).toEqual(upTo(10_000).filter((it) => it % 2 === 0))
    expect(exporter.ledger.toJSON()).toMatchObject({ delivered: 5000, filtered: 5000, difference: 0 })
    expect(exporter.settled).toBe(10_000)
  })

  test('settles without writing when the filter leaves everything out', async () => {
    const exporter = await start({}, { judge: judge(() => false) })
    const store = new TestFlowStore(16_384)
    feed(exporter, store, 0, 10_000)
    await exporter.flush(5000)
    expect([exporter.settled, statSync(path).size]).toEqual([10_000, 0])
  })

  test('counts flows whose line would be too long and writes the others', async () => {
    const exporter = await start()
    const store = new TestFlowStore(16)
    const labels = Array.from({ length: 900 }, (_, i) => `k8s:label-${i}=${'x'.repeat(60)}`)
    store.push({ bytes: 1 }, { bytes: 2, source: { labels } }, { bytes: 3 })
    exporter.accept(store, 0, 3)
    await exporter.flush(5000)
    expect(numbersIn(path)).toEqual([1, 3])
    expect(exporter.ledger.toJSON()).toMatchObject({ delivered: 2, lost: { line_too_long: 1 }, difference: 0 })
  })

  test('writes what the kernel lost as lost_events, added up', async () => {
    const exporter = await start()
    const store = new TestFlowStore(16)
    feed(exporter, store, 0, 1)
    await exporter.flush(5000)
    const timeMs = Date.UTC(2026, 10, 22)
    store.loseRecords({ source: 1, count: 40, cpu: 1, firstMs: timeMs, lastMs: timeMs })
    store.loseRecords({ source: 1, count: 2, cpu: 1, firstMs: timeMs, lastMs: timeMs + 1500 })
    store.loseRecords({ source: 1, count: 5, cpu: undefined, firstMs: timeMs, lastMs: timeMs })
    await exporter.flush(5000)
    expect(readFileSync(path, 'utf8').split('\n').slice(1, -1)).toEqual([
      '{"lost_events":{"source":"PERF_EVENT_RING_BUFFER","num_events_lost":"42","cpu":1,' +
        '"first":"2026-11-22T00:00:00Z","last":"2026-11-22T00:00:01.500Z"},"node_name":"node-1",' +
        '"time":"2026-11-22T00:00:01.500Z"}',
      '{"lost_events":{"source":"PERF_EVENT_RING_BUFFER","num_events_lost":"5",' +
        '"first":"2026-11-22T00:00:00Z","last":"2026-11-22T00:00:00Z"},"node_name":"node-1","time":"2026-11-22T00:00:00Z"}',
    ])
  })

  test('flush() ends at its deadline when the disk does not write', async () => {
    const exporter = await start()
    const store = new TestFlowStore(16)
    rmSync(join(directory, 'hubble'), { recursive: true })
    writeFileSync(join(directory, 'hubble'), 'in the way')
    feed(exporter, store, 0, 1)
    const before = Date.now()
    await exporter.flush(50)
    expect(Date.now() - before).toBeLessThan(1000)
    expect(exporter.ledger.toJSON()).toMatchObject({ waiting: 1, difference: 0 })
  })

  test('ends at once when disposed while the disk does not write', async () => {
    const exporter = await start({ retryMinMs: 60_000, retryMaxMs: 60_000 })
    const store = new TestFlowStore(16)
    rmSync(join(directory, 'hubble'), { recursive: true })
    writeFileSync(join(directory, 'hubble'), 'in the way')
    feed(exporter, store, 0, 1)
    await until(() => metrics(exporter)['sluice_log_up'] === 0)
    await exporter[Symbol.asyncDispose]()
    expect(exporter.settled).toBe(0)
  })

  test.each([
    ['a directory', () => mkdirSync(path, { recursive: true })],
    ['below a file', () => writeFileSync(join(directory, 'hubble'), '')],
  ])('start() refuses a path that is %s', async (_, prepare) => {
    prepare()
    await expect(start()).rejects.toMatchObject({
      code: 'SLUICE_EXPORTER_START',
      message: expect.stringContaining(path),
    })
  })

  test('starts at a file that is larger than the limit by rotating it first', async () => {
    mkdirSync(join(directory, 'hubble'))
    writeFileSync(path, 'x\n'.repeat(1_000_000))
    const exporter = await start({ maxFileBytes: 1_048_576 })
    feed(exporter, new TestFlowStore(16), 0, 1)
    await exporter.flush(5000)
    expect(numbersIn(path)).toEqual([1])
    expect(existsSync(path)).toBe(true)
    expect(readdirSync(join(directory, 'hubble'))).toHaveLength(2)
  })
})

describe('filtersChanged()', () => {
  test('off from the start: no file, nothing waits, everything is filtered', async () => {
    const exporter = await start({}, { isOn: false })
    const store = new TestFlowStore(64)
    feed(exporter, store, 0, 20)
    expect(exporter.settled).toBe(20)
    expect(exporter.ledger.toJSON()).toMatchObject({ accepted: 20, filtered: 20, waiting: 0, difference: 0 })
    expect(exporter.state).toBe('off: no ContainerNetworkLog asks for it')
    store.loseRecords({ source: 1, count: 40, cpu: 1, firstMs: 0, lastMs: 0 })
    await exporter.flush(1000)
    expect(existsSync(path)).toBe(false)
    expect(metrics(exporter)).toMatchObject({ sluice_log_enabled: 0, sluice_log_up: 0 })
  })

  test('on: opens the file at once and writes what comes; off: closes it and keeps it; on again: goes on behind it', async () => {
    const exporter = await start({}, { isOn: false })
    const store = new TestFlowStore(256)
    feed(exporter, store, 0, 10)
    exporter.filtersChanged(rules(true))
    await until(() => existsSync(path) && metrics(exporter)['sluice_log_up'] === 1)
    expect(exporter.state).toBeUndefined()
    feed(exporter, store, 10, 10)
    await exporter.flush(5000)
    expect(numbersIn(path)).toEqual(upTo(20).slice(10))
    exporter.filtersChanged(rules(false))
    feed(exporter, store, 20, 10)
    expect(exporter.settled).toBe(30)
    await until(() => metrics(exporter)['sluice_log_up'] === 0)
    expect(openFiles(path)).toBe(0)
    expect(numbersIn(path)).toEqual(upTo(20).slice(10))
    exporter.filtersChanged(rules(true))
    feed(exporter, store, 30, 10)
    await exporter.flush(5000)
    expect(numbersIn(path)).toEqual([...upTo(20).slice(10), ...upTo(40).slice(30)])
    exporter.filtersChanged(rules(undefined))
    expect(exporter.state).toContain('off')
    expect(exporter.ledger.toJSON()).toMatchObject({
      accepted: 40,
      delivered: 20,
      filtered: 20,
      waiting: 0,
      difference: 0,
    })
  })

  test('what was accepted before it went off is still written, what came after is not', async () => {
    const exporter = await start()
    const store = new TestFlowStore(16_384)
    feed(exporter, store, 0, 6000)
    exporter.filtersChanged(rules(false))
    feed(exporter, store, 6000, 4000)
    await exporter.flush(5000)
    expect(numbersIn(path)).toEqual(upTo(6000))
    expect(exporter.settled).toBe(10_000)
    expect(exporter.ledger.toJSON()).toMatchObject({ delivered: 6000, filtered: 4000, waiting: 0, difference: 0 })
    await until(() => openFiles(path) === 0)
  })

  test('on again before it has stopped: the judge says what of the time between is written', async () => {
    const exporter = await start({}, { judge: judge((view) => view.bytes !== 3001) })
    const store = new TestFlowStore(16_384)
    feed(exporter, store, 0, 3000)
    exporter.filtersChanged(rules(false))
    feed(exporter, store, 3000, 1)
    exporter.filtersChanged(rules(true))
    feed(exporter, store, 3001, 999)
    await exporter.flush(5000)
    expect(numbersIn(path)).toEqual(upTo(4000).filter((it) => it !== 3001))
    expect(exporter.ledger.toJSON()).toMatchObject({ delivered: 3999, filtered: 1, waiting: 0, difference: 0 })
  })

  test('going off in trouble with the disk ends the trouble: what waits is lost by its name', async () => {
    const exporter = await start()
    const store = new TestFlowStore(64)
    rmSync(join(directory, 'hubble'), { recursive: true })
    writeFileSync(join(directory, 'hubble'), 'in the way')
    feed(exporter, store, 0, 20)
    await until(() => exporter.trouble !== undefined)
    exporter.filtersChanged(rules(false))
    expect(exporter.trouble).toBeUndefined()
    feed(exporter, store, 20, 5)
    await exporter.flush(5000)
    const { lost, filtered, waiting, difference } = exporter.ledger.toJSON()
    expect([Object.values(lost), filtered, waiting, difference]).toEqual([[20], 5, 0, 0])
    expect([exporter.settled, exporter.trouble]).toEqual([25, undefined])
  })

  test('a file that cannot be opened when the log comes on is trouble, and tried again', async () => {
    const exporter = await start({}, { isOn: false })
    const store = new TestFlowStore(64)
    writeFileSync(join(directory, 'hubble'), 'in the way')
    exporter.filtersChanged(rules(true))
    await until(() => exporter.trouble !== undefined)
    feed(exporter, store, 0, 5)
    rmSync(join(directory, 'hubble'))
    await exporter.flush(5000)
    expect(numbersIn(path)).toEqual(upTo(5))
    expect(exporter.trouble).toBeUndefined()
  })

  test('on and off without end: every flow is accounted for, and the file is in one piece', async () => {
    const exporter = await start({ maxFileBytes: 1_048_576 })
    const store = new TestFlowStore(65_536)
    for (let i = 0; i < 200; i++) {
      feed(exporter, store, i * 20, 20)
      exporter.filtersChanged(rules(i % 2 === 1))
      if (i % 7 === 0) await new Promise((resolve) => setTimeout(resolve, 2))
      expect(exporter.ledger.difference).toBe(0)
    }
    await exporter.flush(5000)
    const numbers = allNumbers()
    expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b))
    const { delivered, filtered, waiting } = exporter.ledger
    expect([delivered, delivered + filtered, waiting]).toEqual([numbers.length, 4000, 0])
  })
})
