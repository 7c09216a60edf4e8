import { readFileSync } from 'node:fs'
import { release } from 'node:os'
import { type Command, Option } from 'commander'
import { packagePath } from '../../lab/index.ts'
import { writeText } from '../io.ts'
import type { CommandContext } from './context.ts'

/** Of this installation. */
export function cliVersion(): string {
  const manifest: { version?: string } = JSON.parse(readFileSync(packagePath('package.json'), 'utf8'))
  return manifest.version ?? '0.0.0'
}

/** `sluice version` */
export function addVersionCommand(program: Command, context: CommandContext): void {
  program
    .command('version')
    .summary('version of Sluice, Node and the kernel')
    .addOption(new Option('-o, --output <format>', 'text or json').choices(['text', 'json']).default('text'))
    .action(async ({ output }: { output: string }) => {
      const facts = {
        sluice: cliVersion(),
        node: process.versions.node,
        kernel: release(),
        platform: `${process.platform}/${process.arch}`,
      }
      const text = `sluice ${facts.sluice} (Node ${facts.node}, Linux ${facts.kernel}, ${facts.platform})\n`
      await writeText(context.io.stdout, output === 'json' ? `${JSON.stringify(facts)}\n` : text)
    })
}
