import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import { JsonLogExporter, type JsonLogOptions, resolveJsonLogOptions } from '../../exporters/json-log/index.ts'
import { TestFlowStore } from '../helpers/flow-store.ts'

function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-json-log-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** A file system of a few megabytes; gone after the test, whatever happens. */
function smallDisk(options: string): string {
  const directory = temporaryDirectory()
  execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'sluice-json-log', directory])
  onTestFinished(() => void execFileSync('umount', ['-l', directory]))
  return directory
}

async function start(options: JsonLogOptions): Promise<JsonLogExporter> {
  const exporter = new JsonLogExporter(resolveJsonLogOptions({ retryMinMs: 5, retryMaxMs: 50, ...options }))
  onTestFinished(() => exporter[Symbol.asyncDispose]())
  await exporter.start(new AbortController().signal)
  return exporter
}

function feed(exporter: JsonLogExporter, store: TestFlowStore, count: number): void {
  const first = store.push(...Array.from({ length: count }, (_, i) => ({ bytes: store.end + i + 1 })))
  exporter.accept(store, first, store.end)
}

/** The numbers of a file's flows; every line must be whole. */
function numbersIn(path: string): number[] {
  const text = readFileSync(path, 'latin1')
  expect(text === '' || text.endsWith('\n'), `${path} ends with a whole line`).toBe(true)
  const lines = text.split('\n').slice(0, -1)
  return lines.flatMap((line) => (JSON.parse(line).flow?.extensions.value.bytes as number) ?? [])
}

/** Rotated files and the live one, oldest first. */
function files(directory: string): string[] {
  return readdirSync(directory)
    .filter((name) => /^events.*\.log$/.test(name))
    .sort()
    .map((name) => join(directory, name))
}

function metric(exporter: JsonLogExporter, wanted: string): number {
  let found = 0
  const look = (name: string, _: string, value: number, labels: Readonly<Record<string, string>> = {}) => {
    if ([name, ...Object.values(labels)].join(' ') === wanted) found = value
  }
  exporter.collect({ counter: look, gauge: look })
  return found
}

async function until(what: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 20_000; !what(); await sleep(5)) {
    if (Date.now() > deadline) throw new Error('did not come about within 20 s')
  }
}

/** 1, 2, ... count; says where it parts instead of printing thousands of numbers. */
function expectUpTo(numbers: readonly number[], count: number): void {
  const at = numbers.findIndex((number, i) => number !== i + 1)
  expect(at < 0 ? 'in order' : `${numbers[at]} at place ${at + 1}`).toBe('in order')
  expect(numbers.length).toBe(count)
}

describe('rotation under load', () => {
  test('500 MB: no file over 50 MiB, no line cut, every flow once and in order', async () => {
    const directory = temporaryDirectory()
    const exporter = await start({ path: join(directory, 'events.log'), maxBackups: 20 })
    // The same 65,536 flows again and again: the store's slots are read by sequence modulo its capacity.
    const store = new TestFlowStore(65_536)
    store.push(...Array.from({ length: 65_536 }, (_, i) => ({ bytes: i + 1 })))
    store.end = 0
    while (metric(exporter, 'sluice_log_bytes_total') < 500e6) {
      const first = store.end
      store.end += 2000
      store.first = Math.max(0, store.end - store.capacity)
      exporter.accept(store, first, store.end)
      await (store.end - exporter.settled > 30_000 ? exporter.flush(20_000) : new Promise(setImmediate))
    }
    await exporter.flush(20_000)
    expect(exporter.ledger.toJSON()).toMatchObject({ delivered: store.end, lost: {}, difference: 0 })

    const written = files(directory)
    expect(written.length).toBe(10)
    let next = 1
    for (const path of written) {
      const content = readFileSync(path)
      expect(content.length).toBeLessThanOrEqual(52_428_800)
      if (path !== written.at(-1)) expect(content.length).toBeGreaterThan(52_428_800 - 2 * 262_144)
      expect(content.at(-1)).toBe(10)
      // Parsing half a million lines takes long: their two ends and the number tell a cut one as well.
      for (let at = 0; at < content.length; ) {
        const end = content.indexOf(10, at)
        const number = content.indexOf('"bytes":', at) + 8
        expect.soft(content.toString('latin1', at, at + 9)).toBe('{"flow":{')
        if (content[end - 1] !== 125 || Number.parseInt(content.toString('latin1', number, number + 8), 10) !== next) {
          throw new Error(`${path} at ${at}: want flow ${next}, got ${content.toString('latin1', at, end)}`)
        }
        next = (next % 65_536) + 1
        at = end + 1
      }
    }
    expect(next).toBe((store.end % 65_536) + 1)
  }, 60_000)

  test('goes on writing while a rotated file is compressed', async () => {
    const directory = temporaryDirectory()
    const exporter = await start({ path: join(directory, 'events.log'), compress: true })
    const store = new TestFlowStore(65_536)
    store.push(...Array.from({ length: 65_536 }, (_, i) => ({ bytes: i + 1 })))
    store.end = 0
    const isCompressing = () => readdirSync(directory).some((name) => name.endsWith('.gz.tmp'))
    for (let i = 0; !isCompressing(); i++) {
      if (i > 100) throw new Error('no compression began')
      store.end += 2000
      store.first = Math.max(0, store.end - store.capacity)
      exporter.accept(store, store.end - 2000, store.end)
      await exporter.flush(20_000)
    }
    const before = exporter.ledger.delivered
    for (let i = 0; i < 5; i++) {
      store.end += 100
      store.first = Math.max(0, store.end - store.capacity)
      exporter.accept(store, store.end - 100, store.end)
      await exporter.flush(20_000)
    }
    expect(isCompressing()).toBe(true)
    expect(exporter.ledger.delivered).toBe(before + 500)
    await exporter.backupsSettled()
    expect(readdirSync(directory).filter((name) => name.endsWith('.gz'))).toHaveLength(1)
    expect(files(directory)).toHaveLength(1)
  }, 60_000)
})

describe('a disk that is full', () => {
  test('takes whole lines only, and every flow once when there is room again', async () => {
    const directory = smallDisk('size=4m')
    // 100 kB are left for a chunk of up to 256 kB: the kernel takes a part of it and reports no error.
    writeFileSync(join(directory, 'filler'), Buffer.alloc(4 * 1_048_576 - 100_000))
    const exporter = await start({ path: join(directory, 'events.log') })
    const store = new TestFlowStore(16_384)
    feed(exporter, store, 5000)
    await until(() => metric(exporter, 'sluice_log_write_errors_total disk_full') > 2)
    const numbers = numbersIn(join(directory, 'events.log'))
    expectUpTo(numbers, numbers.length)
    expect(exporter.settled).toBeLessThan(5000)
    expect(exporter.settled).toBeLessThanOrEqual(numbers.length)

    rmSync(join(directory, 'filler'))
    await exporter.flush(10_000)
    expectUpTo(files(directory).flatMap(numbersIn), store.end)
    expect(exporter.ledger.toJSON()).toMatchObject({ delivered: 5000, waiting: 0, lost: {}, difference: 0 })
  })

  test('counts as disk_full what the history lost meanwhile, and the ledger closes', async () => {
    const directory = smallDisk('size=4m')
    writeFileSync(join(directory, 'filler'), Buffer.alloc(4 * 1_048_576 - 8192))
    const exporter = await start({ path: join(directory, 'events.log') })
    const store = new TestFlowStore(1024)
    feed(exporter, store, 100)
    await until(() => metric(exporter, 'sluice_log_write_errors_total disk_full') > 0)
    for (let i = 0; i < 50; i++) {
      feed(exporter, store, 100)
      await sleep(1)
    }
    rmSync(join(directory, 'filler'))
    await exporter.flush(10_000)
    const numbers = files(directory).flatMap(numbersIn)
    const lost = exporter.ledger.lostByReason.get('disk_full')!
    expect(lost).toBeGreaterThan(3000)
    expect(numbers.length).toBe(5100 - lost)
    expect(new Set(numbers).size).toBe(numbers.length)
    expect(numbers.slice(-1024)).toEqual(Array.from({ length: 1024 }, (_, i) => 5100 - 1024 + i + 1))
    expect(exporter.ledger.toJSON()).toMatchObject({ accepted: 5100, waiting: 0, difference: 0 })
  })

  test('rotates and resumes when it became full during a rotation', async () => {
    const directory = smallDisk('size=6m')
    const exporter = await start({ path: join(directory, 'events.log'), maxFileBytes: 1_048_576, maxBackups: 100 })
    const store = new TestFlowStore(65_536)
    feed(exporter, store, 10_000)
    await until(() => metric(exporter, 'sluice_log_write_errors_total disk_full') > 2)
    const seen = files(directory).slice(0, -1).flatMap(numbersIn)
    for (const path of files(directory).slice(0, -1)) rmSync(path)
    await exporter.flush(10_000)
    const rest = files(directory).flatMap(numbersIn)
    const all = [...seen, ...rest]
    expectUpTo(all, all.length)
    expect(exporter.settled).toBe(all.length)
  })
})

describe('a file system that is read-only', () => {
  test('is waited for from the start, and written to when it can be', async () => {
    const directory = smallDisk('size=4m,ro')
    const exporter = await start({ path: join(directory, 'hubble', 'events.log') })
    const store = new TestFlowStore(1024)
    feed(exporter, store, 100)
    await until(() => metric(exporter, 'sluice_log_write_errors_total read_only') > 1)
    expect(exporter.ledger.toJSON()).toMatchObject({ waiting: 100, difference: 0 })
    execFileSync('mount', ['-o', 'remount,rw', directory])
    await exporter.flush(10_000)
    expectUpTo(numbersIn(join(directory, 'hubble', 'events.log')), 100)
  })
})

describe('a writer that is killed', () => {
  /** Runs the writer, kills it after a time and returns the last settled position that it told. */
  async function runAndKill(path: string, from: number, afterMs: number): Promise<number> {
    const script = new URL('../helpers/log-writer.ts', import.meta.url).pathname
    const child = spawn(process.execPath, ['--import', 'tsx', script, path, String(from)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let said = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    const closed = new Promise((resolve) => child.once('close', resolve))
    while (!said.includes('\n')) await sleep(5)
    await sleep(afterMs)
    child.kill('SIGKILL')
    await closed
    return Number(said.split('\n').at(-2))
  }

  test('leaves every settled flow in the files once; the next start leaves no torn line and no gap', async () => {
    const directory = temporaryDirectory()
    const path = join(directory, 'events.log')
    let settled = 0
    for (const afterMs of [40, 130, 7, 260, 81]) {
      const before = settled
      settled = await runAndKill(path, settled, afterMs)
      expect(settled).toBeGreaterThan(before)
      const exporter = await start({ path, maxBackups: 10_000 })
      await exporter[Symbol.asyncDispose]()
      const times = new Map<number, number>()
      for (const number of files(directory).flatMap(numbersIn)) times.set(number, (times.get(number) ?? 0) + 1)
      // What was settled in this run is there once. Below, the tail of an earlier run may be there twice: it was in
      // the file, but nobody had been told so when the writer was killed, so the next run wrote it again.
      for (let number = 1; number <= settled; number++) expect(times.get(number), `flow ${number}`).toBeGreaterThan(0)
      const repeated = [...times].filter(([, count]) => count > 1).length
      expect(repeated).toBeLessThanOrEqual(20_500 * 5)
    }
    expect(files(directory).every((file) => statSync(file).size <= 1_048_576)).toBe(true)
    expect(existsSync(path)).toBe(true)
  }, 120_000)

  test('leaves every settled flow exactly once when the next run starts where it settled', async () => {
    const path = join(temporaryDirectory(), 'events.log')
    const settled = await runAndKill(path, 0, 200)
    const exporter = await start({ path, maxBackups: 10_000 })
    await exporter[Symbol.asyncDispose]()
    const directory = join(path, '..')
    const numbers = files(directory).flatMap(numbersIn)
    expectUpTo(numbers, numbers.length)
    expect(numbers.length).toBeGreaterThanOrEqual(settled)
  }, 60_000)
})
