// Prints the counts of one kernel's run as a line, and what failed on standard error.
//   node summary.mjs SERIES RELEASE-FILE RESULTS-FILE
// Exit code 1 when a test failed, none ran, or the guest did not get to its end.
import { readFileSync } from 'node:fs'

const [series, releaseFile, resultsFile] = process.argv.slice(2)
const release = readFileSync(releaseFile, 'utf8').trim()

/** The lines of a results file; one that a dying guest left half written is no line. */
function readResults(path) {
  let text = ''
  try {
    text = readFileSync(path, 'utf8')
  } catch {}
  return text.split('\n').flatMap((line) => {
    try {
      return [JSON.parse(line)]
    } catch {
      return []
    }
  })
}

const results = readResults(resultsFile)
const of = (state) => results.filter((line) => line.state === state)
const errors = results.filter((line) => line.error !== undefined)
const end = results.find((line) => line.end)
for (const { test, why } of of('failed')) console.error(`${series} failed: ${test}\n${why ?? ''}`)
for (const { error } of errors) console.error(`${series} error: ${error}`)

const told = results.length - errors.length - (end ? 1 : 0)
const notes = []
if (errors.length > 0) notes.push(`${errors.length} errors outside of tests`)
if (!end) notes.push('the guest did not come to its end')
else if (end.tests !== told) notes.push(`${end.tests - told} results were lost on the way`)
console.log(
  `${release}: ${of('passed').length} passed, ${of('failed').length} failed, ${of('skipped').length} skipped` +
    notes.map((note) => `; ${note}`).join(''),
)
process.exit(of('failed').length > 0 || of('passed').length === 0 || notes.length > 0 ? 1 : 0)
