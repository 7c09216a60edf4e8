import { execFileSync, spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, test } from 'vitest'
import {
  type Answer,
  CaseSet,
  type FilterCase,
  GOLDEN_CASES,
  GOLDEN_FLOWS,
  GOLDEN_SEED,
} from './filters-oracle/cases.ts'
import { flowJson } from './filters-oracle/flow-json.ts'

const FOLDER = fileURLToPath(new URL('./filters-oracle/', import.meta.url))
const BINARY = fileURLToPath(new URL('./bin/filters-oracle', import.meta.url))
const GOLDEN = fileURLToPath(new URL('../../filters/hubble/fixtures/oracle.json', import.meta.url))

const missing = spawnSync('go', ['version']).status === 0 ? undefined : 'needs Go 1.25 or later'

/** Answers of Hubble's own filters. */
function askHubble(set: CaseSet, cases: readonly FilterCase[]): Answer[] {
  const flows = Array.from(set.views(), flowJson)
  const lines = cases.map((one, i) => JSON.stringify(i === 0 ? { ...one, flows } : one))
  const output = execFileSync(BINARY, {
    input: `${lines.join('\n')}\n`,
    maxBuffer: 1 << 28,
    encoding: 'utf8',
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  return output
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Answer)
}

/** Where the two differ, with what a reader needs to see why. */
function differences(set: CaseSet, hubble: readonly Answer[]): string[] {
  const flows = Array.from(set.views(), flowJson)
  return set.cases.flatMap((one, i) => {
    const ours = set.answer(one)
    const theirs = hubble[i]!
    if (theirs.error?.startsWith('question:')) throw new Error(theirs.error)
    if ((ours.error === undefined) !== (theirs.error === undefined) || ours.matches !== theirs.matches) {
      const at = [...(theirs.matches ?? '')].findIndex((digit, flow) => digit !== ours.matches?.[flow])
      return [JSON.stringify({ ...one, ours, theirs, flow: flows[at] }, undefined, 1)]
    }
    return []
  })
}

describe.skipIf(missing)(`filters beside Hubble's own${missing ? ` (skipped: ${missing})` : ''}`, () => {
  beforeAll(() => {
    execFileSync('go', ['build', '-o', BINARY, '.'], { cwd: FOLDER, stdio: ['ignore', 'ignore', 'inherit'] })
  })

  test.each([1, 2, 3, 4, 5, 6, 7, 8])(
    'compileFlowFilters() answers as Hubble does for random filters, seed %i',
    (seed) => {
      const set = new CaseSet(seed, 40, 1000)
      const hubble = askHubble(set, set.cases)
      const found = differences(set, hubble)
      expect(found.slice(0, 3).join('\n'), `${found.length} of ${set.cases.length} differ`).toBe('')
      // The cases have to be worth asking: faults, partial matches.
      expect(hubble.filter((one) => one.error !== undefined).length).toBeGreaterThan(50)
      expect(hubble.filter(({ matches }) => matches?.includes('0') && matches.includes('1')).length).toBeGreaterThan(
        200,
      )
    },
  )

  test.runIf(process.env['UPDATE'] === '1')('golden answers are recorded', () => {
    const set = new CaseSet(GOLDEN_SEED, GOLDEN_FLOWS, GOLDEN_CASES)
    const answers = askHubble(set, set.cases)
    // Hubble's words for a fault are its own; that there is one is what counts.
    const rows = set.cases.map((one, i) => ({
      ...one,
      ...(answers[i]!.error === undefined ? answers[i] : { error: true }),
    }))
    const lines = (list: readonly object[]) => list.map((one) => JSON.stringify(one)).join(',\n')
    writeFileSync(GOLDEN, `{"flows":[\n${lines(Array.from(set.views(), flowJson))}\n],"cases":[\n${lines(rows)}\n]}\n`)
  })
})
