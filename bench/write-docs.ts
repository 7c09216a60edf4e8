import { readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus, release } from 'node:os'
import { fileURLToPath } from 'node:url'
import type { Figure } from './figure.ts'

const FILE = fileURLToPath(new URL('../docs/benchmarks.md', import.meta.url))
const BEGIN = '<!-- figures: written by npm run bench -- --write-docs -->'
const END = '<!-- end of figures -->'
const HEAD = ['| figure | value | goal | | conditions | when |', '| --- | ---: | ---: | --- | --- | --- |']

/** A value as people read it: `1,234 ns/event`, `0.982 ratio`. */
export function valueText(figure: Figure): string {
  const { value, unit } = figure
  const text = Math.abs(value) >= 1000 ? Math.round(value).toLocaleString('en-GB') : `${Number(value.toPrecision(3))}`
  return `${text} ${unit}`
}

/** Puts figures into the table of docs/benchmarks.md: rows of the same benchmark are replaced, others stay. */
export function writeDocs(benchmark: string, figures: readonly Figure[]): void {
  const text = readFileSync(FILE, 'utf8')
  const [from, to] = [text.indexOf(BEGIN), text.indexOf(END)]
  if (from < 0 || to < from) throw new Error(`${FILE} lacks the marks "${BEGIN}" and "${END}"`)
  const prefix = `| ${benchmark.replaceAll('-', '_')}.`
  const kept = text
    .slice(from + BEGIN.length, to)
    .split('\n')
    .filter((line) => line.startsWith('| ') && !HEAD.includes(line) && !line.startsWith(prefix))
  const when = new Date().toISOString().slice(0, 10)
  const rows = figures.map((figure) => {
    const verdict = figure.goal === '' ? '' : figure.ok ? 'met' : 'missed'
    const conditions = figure.conditions.replaceAll('|', '\\|')
    return `| ${figure.name} | ${valueText(figure)} | ${figure.goal} | ${verdict} | ${conditions} | ${when} |`
  })
  const machine = `${availableParallelism()} × ${cpus()[0]?.model.trim()}, Linux ${release()}, Node ${process.version}`
  const table = [BEGIN, '', `Last written on ${machine}.`, '', ...HEAD, ...[...kept, ...rows].sort(), '', END].join(
    '\n',
  )
  writeFileSync(FILE, `${text.slice(0, from)}${table}${text.slice(to + END.length)}`)
}
