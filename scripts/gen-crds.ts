/**
 * Writes deploy/crds/*.yaml from filters/resources/. With --check it changes nothing and fails when a file is stale.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { stringify } from 'yaml'
import { customResourceDefinitions } from '../filters/resources/crd.ts'

const folder = new URL('../deploy/crds/', import.meta.url)
const check = process.argv.includes('--check')
const head = '# Made by `npm run gen` from filters/resources/schema.ts: change that.\n'

mkdirSync(folder, { recursive: true })
const wanted = new Map(
  customResourceDefinitions().map(({ file, definition }) => [
    file,
    head + stringify(definition, { aliasDuplicateObjects: false, lineWidth: 0 }),
  ]),
)
const stale = readdirSync(folder).filter((file) => file.endsWith('.yaml') && !wanted.has(file))
for (const [file, text] of wanted) {
  const path = new URL(file, folder)
  let found = ''
  try {
    found = readFileSync(path, 'utf8')
  } catch {
    // Not there yet: written below.
  }
  if (found === text) continue
  if (check) stale.push(file)
  else writeFileSync(path, text)
}
if (stale.length > 0) {
  console.error(`Stale below deploy/crds: ${stale.join(', ')}; run \`npm run gen\`, remove what no kind has`)
  process.exit(1)
}
