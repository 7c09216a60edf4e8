import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Sluice's version, from package.json of this installation: this module runs from <root>/agent and <root>/dist/agent. */
export function sluiceVersion(): string {
  const here = dirname(fileURLToPath(import.meta.url))
  const path = [join(here, '../package.json'), join(here, '../../package.json')].find(existsSync)
  if (path === undefined) return '0.0.0'
  return String((JSON.parse(readFileSync(path, 'utf8')) as { version?: unknown }).version)
}
