/**
 * Runs the benchmarks: `npm run bench`, `npm run bench -- NAME ...` for some, `-- --json` for one JSON object a figure,
 * `-- --list` for their names, `-- --write-docs` to put the figures into docs/benchmarks.md too. Exit code 1 when a goal is missed or a benchmark fails.
 */
import { readdirSync } from 'node:fs'
import { availableParallelism, cpus, release } from 'node:os'
import { styleText } from 'node:util'
import { errorText } from '../base/errors.ts'
import type { Benchmark, Figure } from './figure.ts'
import { valueText, writeDocs } from './write-docs.ts'

const here = new URL('.', import.meta.url).pathname
const names = readdirSync(here)
  .filter((file) => file.endsWith('.bench.ts'))
  .map((file) => file.replace('.bench.ts', ''))
  .sort()

async function runOne(name: string): Promise<Figure[]> {
  const module = (await import(`./${name}.bench.ts`)) as { run?: Benchmark; default?: Benchmark }
  const run = module.run ?? module.default
  if (!run) throw new Error(`bench/${name}.bench.ts exports no run()`)
  return run()
}

function show(figure: Figure): void {
  const verdict = figure.goal === '' ? '      ' : figure.ok ? styleText('green', 'ok    ') : styleText('red', 'MISSED')
  console.log(
    `${verdict} ${figure.name.padEnd(44)} ${valueText(figure).padStart(22)}  ${figure.goal.padEnd(10)} ${styleText('dim', figure.conditions)}`,
  )
}

const args = process.argv.slice(2)
const json = args.includes('--json')
const wanted = args.filter((arg) => !arg.startsWith('--'))
const unknown = wanted.filter((name) => !names.includes(name))
if (args.includes('--list') || unknown.length > 0) {
  if (unknown.length > 0) console.error(`no benchmark ${unknown.join(', ')}; there are:`)
  console.log(names.join('\n'))
  process.exit(unknown.length > 0 ? 2 : 0)
}
if (!json)
  console.log(
    styleText(
      'dim',
      `${availableParallelism()} × ${cpus()[0]?.model.trim()}, Linux ${release()}, Node ${process.version}`,
    ),
  )
let failed = false
for (const name of wanted.length > 0 ? wanted : names) {
  if (!json) console.log(styleText('bold', name))
  try {
    const figures = await runOne(name)
    if (args.includes('--write-docs')) writeDocs(name, figures)
    for (const figure of figures) {
      if (json) console.log(JSON.stringify(figure))
      else show(figure)
      failed ||= !figure.ok
    }
  } catch (error) {
    failed = true
    console.error(`bench ${name} failed: ${errorText(error)}`)
  }
}
process.exit(failed ? 1 : 0)
