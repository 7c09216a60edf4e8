import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { BackupKeeper } from './backup-keeper.ts'
import { Backups } from './backups.ts'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'sluice-backups-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
})

const backups = (name = 'events.log') => new Backups(join(directory, name))
const files = () => readdirSync(directory).sort()
const put = (...names: string[]) => {
  for (const name of names) writeFileSync(join(directory, name), `${name}\n`)
}
const at = (second: number) => `events-2026-11-22T10-20-${String(second).padStart(2, '0')}.000`

describe('Backups.nextName()', () => {
  test('gives the time in UTC as Hubble writes it', () => {
    expect(backups().nextName(Date.UTC(2026, 10, 22, 10, 20, 30, 123))).toBe('events-2026-11-22T10-20-30.123.log')
    expect(backups('plain').nextName(0)).toBe('plain-1970-01-01T00-00-00.001')
  })

  test('never repeats and never goes back, also when the clock does', () => {
    const it = backups()
    const times = [5000, 5000, 5000, 4000, 1000, 6000, 6000]
    const names = times.map((time) => it.nextName(time))
    expect(new Set(names).size).toBe(times.length)
    expect([...names].sort()).toEqual(names)
  })

  test('goes on behind the names that are there, compressed ones too', async () => {
    put('events-2090-01-01T00-00-00.000.log.gz')
    const it = backups()
    await it.list()
    expect(it.nextName(Date.now())).toBe('events-2090-01-01T00-00-00.001.log')
  })
})

describe('Backups.list()', () => {
  test('knows its own files only, oldest first', async () => {
    put(
      `${at(2)}.log`,
      `${at(1)}.log.gz`,
      'events.log',
      'events-old.log',
      'other-2026-11-22T10-20-30.000.log',
      `${at(3)}.txt`,
    )
    put('events-2026-99-99T10-20-30.000.log')
    expect((await backups().list()).map((it) => it.name)).toEqual([`${at(1)}.log.gz`, `${at(2)}.log`])
  })

  test('takes a name with the signs of regular expressions literally', async () => {
    put('a+b(1)-2026-11-22T10-20-30.000.log', 'aab1-2026-11-22T10-20-30.000.log')
    expect(await backups('a+b(1).log').list()).toHaveLength(1)
  })
})

describe('Backups.prune()', () => {
  test('keeps the newest, counting plain and compressed ones alike', async () => {
    put(`${at(1)}.log`, `${at(2)}.log.gz`, `${at(3)}.log`, `${at(4)}.log.gz`, 'events.log')
    const kept = await backups().prune(2)
    expect(kept.map((it) => it.name)).toEqual([`${at(3)}.log`, `${at(4)}.log.gz`])
    expect(files()).toEqual([`${at(3)}.log`, `${at(4)}.log.gz`, 'events.log'])
  })

  test('keeps none when asked for none', async () => {
    put(`${at(1)}.log`, 'events.log')
    expect(await backups().prune(0)).toEqual([])
    expect(files()).toEqual(['events.log'])
  })

  test('ends what a killed compression began', async () => {
    put(`${at(1)}.log`, `${at(1)}.log.gz`, `${at(2)}.log`, `${at(2)}.log.gz.tmp`, 'foreign.gz.tmp')
    await backups().prune(5)
    expect(files()).toEqual([`${at(1)}.log.gz`, `${at(2)}.log`, 'foreign.gz.tmp'])
  })
})

describe('Backups.compress()', () => {
  test('replaces the file by a complete gzip of the same mode', async () => {
    const name = `${at(1)}.log`
    writeFileSync(join(directory, name), 'line\n'.repeat(100_000))
    chmodSync(join(directory, name), 0o640)
    const it = backups()
    await it.compress((await it.list())[0]!)
    expect(files()).toEqual([`${name}.gz`])
    expect(gunzipSync(readFileSync(join(directory, `${name}.gz`))).toString()).toBe('line\n'.repeat(100_000))
    expect(statSync(join(directory, `${name}.gz`)).mode & 0o777).toBe(0o640)
  })

  test('leaves the original and nothing else when it is stopped', async () => {
    const name = `${at(1)}.log`
    writeFileSync(join(directory, name), 'line\n'.repeat(100_000))
    const it = backups()
    await expect(it.compress((await it.list())[0]!, AbortSignal.abort())).rejects.toThrow()
    expect(files()).toEqual([name])
  })
})

describe('BackupKeeper', () => {
  test('prunes and compresses everything when asked once', async () => {
    put(`${at(1)}.log`, `${at(2)}.log`, `${at(3)}.log`, `${at(4)}.log`)
    const keeper = new BackupKeeper(backups(), {
      maxBackups: 3,
      compress: true,
      onError: (_, error) => expect.fail(String(error)),
    })
    keeper.ask()
    await keeper.idle()
    expect(files()).toEqual([`${at(2)}.log.gz`, `${at(3)}.log.gz`, `${at(4)}.log.gz`])
    expect([keeper.count, keeper.compressed]).toEqual([3, 3])
  })

  test('tells of an error and goes on when asked again', async () => {
    const errors: unknown[] = []
    const it = new Backups(join(directory, 'later', 'events.log'))
    const keeper = new BackupKeeper(it, { maxBackups: 1, compress: false, onError: (task) => errors.push(task) })
    keeper.ask()
    await keeper.idle()
    expect(errors).toEqual(['prune'])
  })
})
