import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, normalize, relative } from 'node:path'
import { expect, test } from 'vitest'

/** What each folder may import, from ARCHITECTURE.md: the document and this test must not part. */
function allowed(): Map<string, string[]> {
  const rules = new Map<string, string[]>()
  const table = readFileSync('ARCHITECTURE.md', 'utf8').split('## Imports')[1]?.split('\n## ')[0] ?? ''
  for (const line of table.split('\n')) {
    const match = /^\| ([a-z, ]+?) \| (.+?) \|$/.exec(line)
    if (!match || match[1] === 'folder') continue
    const targets = match[2]!.startsWith('nothing') ? [] : match[2]!.split(',').map((t) => t.trim().replace(/ .*/, ''))
    for (const folder of match[1]!.split(',')) rules.set(folder.trim(), targets)
  }
  return rules
}

function sources(folder: string): string[] {
  if (!existsSync(folder)) return []
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name)
    if (statSync(path).isDirectory()) return name === 'build' || name === 'node_modules' ? [] : sources(path)
    return path.endsWith('.ts') && !path.endsWith('.test.ts') ? [path] : []
  })
}

function importsOf(path: string): string[] {
  const text = readFileSync(path, 'utf8')
  const found = text.matchAll(/(?:\bfrom\s+|\bimport\s+|\bimport\()\s*['"](\.[^'"]+)['"]/g)
  return [...found].map((match) => relative('.', normalize(join(dirname(path), match[1]!))))
}

const rules = allowed()

test('the table of imports in ARCHITECTURE.md names every folder of sources', () => {
  expect([...rules.keys()].sort()).toEqual(
    [
      'agent',
      'api',
      'base',
      'bench',
      'cli',
      'collector',
      'control',
      'enforcement',
      'exporters',
      'filters',
      'fuzz',
      'kubernetes',
      'lab',
      'model',
      'native',
      'test',
      'ui',
    ].sort(),
  )
})

test.each([...rules].filter(([, targets]) => !targets.includes('everything')))(
  '%s imports only what ARCHITECTURE.md allows: %s',
  (folder, targets) => {
    const forbidden: string[] = []
    for (const path of sources(folder)) {
      for (const target of importsOf(path)) {
        const top = target.split('/')[0]!
        const fits =
          top === folder || targets.some((t) => top === t || target.startsWith(`${t}/`) || target.startsWith(`${t}.`))
        if (!fits)
          forbidden.push(`${path} imports ${target}: ${folder} may import ${targets.join(', ') || 'nothing of ours'}`)
      }
    }
    expect(forbidden).toEqual([])
  },
)

test('nothing imports agent but the command line, tests and benchmarks', () => {
  const others = [...rules.keys()].filter((f) => !['agent', 'cli', 'ui', 'test', 'bench', 'fuzz'].includes(f))
  const found = others
    .flatMap((f) => sources(f))
    .filter((path) => importsOf(path).some((target) => target.startsWith('agent/')))
  expect(found).toEqual([])
})

test('exporters do not know each other', () => {
  const found = sources('exporters').filter((path) => {
    const own = path.split('/')[1]
    return importsOf(path).some((target) => target.startsWith('exporters/') && target.split('/')[1] !== own)
  })
  expect(found).toEqual([])
})
