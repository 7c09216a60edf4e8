import type { Command } from 'commander'
import { DEMO_LAB } from '../../lab/index.ts'
import { runDemo } from '../demo/demo.ts'
import { durationFlag } from '../server-options.ts'
import type { CommandContext } from './context.ts'

const HELP = `
Examples:
  sudo sluice demo
  sudo sluice demo --for 20s --log /tmp/demo/events.log
  hubble observe --server localhost:4245 --verdict DROPPED      in another terminal, while it runs

The log and the metrics follow the filter resources of a directory that the screen names: copy files of examples/filters
there, or remove its log-everything.yaml. The screen itself asks for every flow; with --quiet what nobody wants stays in
the kernel.`

/** `sluice demo`: a lab, an agent on it, and its flows. */
export function addDemoCommand(program: Command, context: CommandContext): void {
  program
    .command('demo')
    .summary('a dozen pods, the agent watching them, and their flows on the screen')
    .description(
      'Builds a lab out of network namespaces, runs the agent on it and shows its flows. Ctrl-C leaves nothing behind but the log.',
    )
    .option('--for <duration>', 'end after so long (20s)')
    .option('--lab <file>', `lab file (YAML); default: ${DEMO_LAB}`)
    .option('--log <path>', 'log file; default: events.log in a new directory below /tmp')
    .option('-q, --quiet', 'show no flows, only where to find them and the summary')
    .addHelpText('after', HELP)
    .action(async (flags: { for?: string; lab?: string; log?: string; quiet?: boolean }) => {
      const { resolve } = await import('node:path')
      context.exitCode = await runDemo(context.io, {
        labFile: flags.lab,
        logPath: flags.log === undefined ? undefined : resolve(flags.log),
        forMs: flags.for === undefined ? undefined : durationFlag('--for', flags.for),
        quiet: flags.quiet === true,
      })
    })
}
