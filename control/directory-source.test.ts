import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { longestHold } from '../test/helpers/longest-hold.ts'
import { DirectorySource } from './directory-source.ts'
import type { ResourceDocument, ResourceRef, ResourceSink } from './resource.ts'

const log = (name: string, pod = 'a/') =>
  `apiVersion: acn.azure.com/v1alpha1\nkind: ContainerNetworkLog\nmetadata: {name: ${name}}\nspec: {includefilters: [{from: {namespacedPod: ['${pod}']}}]}\n`

/** What was told, as `+name pod` and `-name`. */
class Recorder implements ResourceSink {
  readonly calls: string[] = []
  readonly documents = new Map<string, ResourceDocument>()
  readonly troubles = new Map<string, string>()
  isSynced = false

  upsert(document: ResourceDocument): void {
    this.documents.set(document.ref.name, document)
    const { spec } = document.value as { spec?: { includefilters?: [{ from: { namespacedPod: string[] } }] } }
    this.calls.push(`+${document.ref.name} ${spec?.includefilters?.[0].from.namespacedPod[0]}`)
  }
  remove(ref: ResourceRef): void {
    this.documents.delete(ref.name)
    this.calls.push(`-${ref.name}`)
  }
  synced(): void {
    this.isSynced = true
  }
  trouble(part: string, text: string | undefined): void {
    if (text === undefined) this.troubles.delete(part)
    else this.troubles.set(part, text)
  }
}

async function setUp(prepare: (path: string) => void = () => {}, pollMs = 5000) {
  const path = mkdtempSync(join(tmpdir(), 'sluice-filters-'))
  prepare(path)
  const source = new DirectorySource({ path, pollMs, settleMs: 10 })
  const sink = new Recorder()
  onTestFinished(async () => {
    await source[Symbol.asyncDispose]()
    rmSync(path, { recursive: true, force: true })
  })
  await source.start(sink, new AbortController().signal)
  const write = (name: string, text: string) => writeFileSync(join(path, name), text)
  return { path, source, sink, write }
}

describe('DirectorySource', () => {
  test('is held up by nothing that only looks like a file', async () => {
    const { sink, source } = await setUp((path) => {
      execFileSync('mkfifo', [join(path, 'a.yaml')])
      mkdirSync(join(path, 'b.yaml'))
      symlinkSync('/dev/zero', join(path, 'c.yaml'))
      writeFileSync(join(path, 'd.yaml'), log('d'))
    })
    expect(sink.calls).toEqual(['+d a/'])
    expect([...sink.troubles.keys()].sort()).toEqual(['a.yaml', 'b.yaml', 'c.yaml'])
    expect(sink.troubles.get('a.yaml')).toContain('is no regular file')
    await source[Symbol.asyncDispose]()
  })

  test('tells all documents of all files at the start, in order of names', async () => {
    const { sink } = await setUp((path) => {
      writeFileSync(join(path, 'b.yml'), `${log('b1')}---\n${log('b2')}`)
      writeFileSync(join(path, 'a.json'), JSON.stringify({ kind: 'ContainerNetworkLog', metadata: { name: 'j' } }))
      writeFileSync(join(path, '.hidden.yaml'), log('hidden'))
      writeFileSync(join(path, 'note.txt'), log('text'))
    })
    expect(sink.calls).toEqual(['+j undefined', '+b1 a/', '+b2 a/'])
    expect(sink.isSynced).toBe(true)
    expect(sink.documents.get('b2')?.lineOf?.(['spec', 'includefilters', 0])).toBe(9)
    expect(sink.documents.get('b2')?.file).toMatch(/b\.yml$/)
  })

  test('takes lists as kubectl writes them', async () => {
    const item = (name: string) => ({ kind: 'ContainerNetworkLog', metadata: { name } })
    const { sink } = await setUp((path) => {
      writeFileSync(join(path, 'l.json'), JSON.stringify({ kind: 'List', items: [item('x'), item('y')] }))
    })
    expect(sink.calls).toEqual(['+x undefined', '+y undefined'])
  })

  test('follows files that are written, changed and removed, within two seconds', async () => {
    const { sink, write, path } = await setUp()
    const began = Date.now()
    write('a.yaml', log('a'))
    await vi.waitFor(() => expect(sink.calls).toEqual(['+a a/']), 2000)
    write('a.yaml', `${log('a', 'b/')}---\n${log('c')}`)
    await vi.waitFor(() => expect(sink.calls.slice(1)).toEqual(['+a b/', '+c a/']), 2000)
    unlinkSync(join(path, 'a.yaml'))
    await vi.waitFor(() => expect(sink.calls.slice(3)).toEqual(['-a', '-c']), 2000)
    expect(Date.now() - began).toBeLessThan(6000)
  })

  // On a busy machine 15 ms may last long enough to be an absence.
  test('a file that is replaced by rename never takes its resources away', { retry: 3 }, async () => {
    const { sink, path } = await setUp((at) => writeFileSync(join(at, 'a.yaml'), log('a')))
    for (let i = 0; i < 10; i++) {
      // As an editor does it: the old one aside, the new one in its place.
      renameSync(join(path, 'a.yaml'), join(path, 'a.yaml~'))
      await new Promise((resolve) => setTimeout(resolve, 15))
      writeFileSync(join(path, 'a.yaml'), log('a', `${i}/`))
      await new Promise((resolve) => setTimeout(resolve, 40))
    }
    await vi.waitFor(() => expect(sink.calls.at(-1)).toBe('+a 9/'), 3000)
    expect(sink.calls.filter((call) => call.startsWith('-'))).toEqual([])
  })

  test('follows the turned link of a mounted ConfigMap', async () => {
    const { sink, path } = await setUp((at) => {
      mkdirSync(join(at, '..1'))
      writeFileSync(join(at, '..1', 'a.yaml'), log('a'))
      symlinkSync('..1', join(at, '..data'))
      symlinkSync(join('..data', 'a.yaml'), join(at, 'a.yaml'))
    })
    expect(sink.calls).toEqual(['+a a/'])
    mkdirSync(join(path, '..2'))
    writeFileSync(join(path, '..2', 'a.yaml'), log('a', 'turned/'))
    symlinkSync('..2', join(path, '..data_tmp'))
    renameSync(join(path, '..data_tmp'), join(path, '..data'))
    rmSync(join(path, '..1'), { recursive: true })
    await vi.waitFor(() => expect(sink.calls).toEqual(['+a a/', '+a turned/']), 2000)
  })

  test('waits for the end of a file that is being written, though each part of it can be read', async () => {
    const { sink, path } = await setUp()
    const parts = [log('a'), `---\n${log('b')}`, `---\n${log('c')}`]
    let text = ''
    for (const part of parts) {
      text += part
      writeFileSync(join(path, 'a.yaml'), text)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    await vi.waitFor(() => expect(sink.calls).toHaveLength(3), 2000)
    expect(sink.calls).toEqual(['+a a/', '+b a/', '+c a/'])
  })

  test('a file that cannot be read leaves what it said, and says where it is wrong', async () => {
    const { sink, write } = await setUp((path) => writeFileSync(join(path, 'a.yaml'), `${log('a')}---\n${log('b')}`))
    write('a.yaml', `${log('a', 'new/')}---\nkind: [\n`)
    await vi.waitFor(() => expect(sink.troubles.get('a.yaml')).toMatch(/a\.yaml:7: /), 2000)
    expect(sink.calls).toEqual(['+a a/', '+b a/', '+a new/'])
    write('a.yaml', log('a', 'newer/'))
    await vi.waitFor(() => expect(sink.troubles.size).toBe(0), 2000)
    expect(sink.calls.slice(3)).toEqual(['-b', '+a newer/'])
  })

  test('of two files with one resource the first counts, and the other is named', async () => {
    const { sink, path } = await setUp((at) => {
      writeFileSync(join(at, 'a.yaml'), log('x', 'first/'))
      writeFileSync(join(at, 'b.yaml'), log('x', 'second/'))
    })
    expect(sink.calls).toEqual(['+x first/'])
    expect(sink.troubles.get('b.yaml')).toMatch(/b\.yaml:3: ContainerNetworkLog x is in .*a\.yaml too, which stands/)
    unlinkSync(join(path, 'a.yaml'))
    await vi.waitFor(() => expect(sink.calls).toEqual(['+x first/', '+x second/']), 2000)
    expect(sink.troubles.size).toBe(0)
  })

  test('names what is no resource and goes on with the rest', async () => {
    const { sink } = await setUp((path) => {
      writeFileSync(join(path, 'a.yaml'), `kind: ConfigMap\nmetadata: {name: c}\n---\n${log('a')}`)
      writeFileSync(join(path, 'b.yaml'), 'kind: ContainerNetworkLog\n')
      writeFileSync(join(path, 'c.yaml'), '- '.repeat(20_000))
      writeFileSync(join(path, 'd.yaml'), 'x'.repeat(4_000_000))
    })
    expect(sink.calls).toEqual(['+a a/'])
    expect(sink.troubles.get('a.yaml')).toMatch(/:1: kind "ConfigMap" is no filter resource and is left out$/)
    expect(sink.troubles.get('b.yaml')).toMatch(/metadata.name is missing: want a name$/)
    expect(sink.troubles.get('c.yaml')).toMatch(/nested too deeply$/)
    expect(sink.troubles.get('d.yaml')).toMatch(/4000000 bytes, want at most/)
  })

  test('finds changes by looking where there is no notice, also of a directory that was made anew', async () => {
    const { sink, path, write } = await setUp(() => {}, 50)
    rmSync(path, { recursive: true })
    await vi.waitFor(() => expect(sink.troubles.get('')).toContain('ENOENT'), 2000)
    mkdirSync(path)
    write('a.yaml', log('a'))
    await vi.waitFor(() => expect(sink.calls).toEqual(['+a a/']), 2000)
    expect(sink.troubles.size).toBe(0)
  })

  test('refuses to start without a directory', async () => {
    const source = new DirectorySource({ path: '/nonexistent/filters' })
    await expect(source.start(new Recorder(), new AbortController().signal)).rejects.toMatchObject({
      code: 'SLUICE_CONFIG_INVALID',
      message: expect.stringContaining('Cannot read "filters.directory": ENOENT'),
    })
  })

  test('does not hold the event loop for a long file', async () => {
    const { sink, write } = await setUp()
    const filters = Array.from({ length: 5000 }, (_, i) => `    - from: {namespacedPod: ['ns-${i}/']}\n`).join('')
    const { longestMs } = await longestHold(async () => {
      write('long.yaml', `kind: ContainerNetworkLog\nmetadata: {name: long}\nspec:\n  includefilters:\n${filters}`)
      await vi.waitFor(() => expect(sink.documents.has('long')).toBe(true), 15_000)
    })
    expect(sink.documents.get('long')?.lineOf?.(['spec', 'includefilters', 4999, 'from'])).toBe(5004)
    // Reading it takes a second of a thread; a shared machine adds its own.
    expect(longestMs).toBeLessThan(300)
  })
})
