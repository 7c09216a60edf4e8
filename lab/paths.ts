import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The package's directory: the one that holds lab/demo.yaml and dist/, from the source as from the build. */
export function packageRoot(): string {
  let directory = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(directory, 'package.json')) && dirname(directory) !== directory)
    directory = dirname(directory)
  return directory
}

/** The lab that `sluice demo` shows. */
export const DEMO_LAB = 'lab/demo.yaml'
/** Flows of the demo, recorded: what is shown where eBPF cannot be had. */
export const DEMO_RECORDING = 'lab/recorded/demo-flows.jsonl'

/** @param path relative to the package */
export function packagePath(path: string): string {
  return join(packageRoot(), path)
}

/**
 * The program that pods run. Built: the module beside this one. From source, where Node cannot run TypeScript: a
 * bundle, made at each start (10 ms).
 *
 * @param directory where a bundle is put
 */
export async function workloadProgram(directory: string): Promise<string> {
  const here = fileURLToPath(import.meta.url)
  if (here.endsWith('.js')) return join(dirname(here), 'workloads', 'main.js')
  const { build } = await import('esbuild')
  const outfile = join(directory, 'workload.mjs')
  await build({
    entryPoints: [join(dirname(here), 'workloads', 'main.ts')],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    logLevel: 'silent',
  })
  return outfile
}
