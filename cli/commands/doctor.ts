import { type Command, Option } from 'commander'
import { examine, type Finding, obstacles } from '../doctor/index.ts'
import { EXIT_FAILED } from '../exit-codes.ts'
import { writeText } from '../io.ts'
import { type Paint, paintFor } from '../paint.ts'
import { append } from '../server-options.ts'
import { parseSettings } from './agent.ts'
import type { CommandContext } from './context.ts'

interface DoctorFlags {
  readonly config?: string
  readonly set?: string[]
  readonly output: 'text' | 'json'
}

/** `sluice doctor`: what this machine lacks, and the fix for each. */
export function addDoctorCommand(program: Command, context: CommandContext): void {
  program
    .command('doctor')
    .summary('name what this machine lacks, and the fix for each')
    .description(
      'Looks at kernel, permissions, files, ports and tools; changes nothing. Ends with 1 when the agent could not run here.',
    )
    .option('-c, --config <path>', 'configuration whose paths and ports are looked at; default: the defaults')
    .option('--set <key=value>', 'set one key of it; may be repeated', append)
    .addOption(new Option('-o, --output <format>', 'text or json').choices(['text', 'json']).default('text'))
    .addHelpText(
      'after',
      '\nExamples:\n  sudo sluice doctor\n  sudo sluice doctor --config /etc/sluice/config.yaml -o json',
    )
    .action(async (flags: DoctorFlags) => {
      const { loadConfig } = await import('../../agent/config.ts')
      const config = loadConfig({
        ...(flags.config === undefined ? {} : { path: flags.config }),
        overrides: parseSettings(flags.set ?? []),
      })
      const findings = await examine({
        pinPath: config.kernel.pinPath,
        logPath: config.log.enabled ? config.log.path : undefined,
        ports: [
          ...(config.metrics.enabled ? [['metrics', 'metrics.listen', config.metrics.listen] as const] : []),
          ['health', 'health.listen', config.health.listen],
          ...config.api.listen
            .filter((address) => !address.startsWith('unix:'))
            .map((address) => ['gRPC', 'api.listen', address] as const),
        ],
      })
      if (obstacles(findings).length > 0) context.exitCode = EXIT_FAILED
      const { io } = context
      await writeText(
        io.stdout,
        flags.output === 'json' ? `${JSON.stringify(findings, undefined, 2)}\n` : findingsText(findings, paintFor(io)),
      )
    })
}

const MARKS = { ok: 'ok', warning: '!!', missing: '--' } as const

/** Findings by group; what is not well has its fix below. */
export function findingsText(findings: readonly Finding[], paint: Paint): string {
  const color = { ok: paint.green.bind(paint), warning: paint.yellow.bind(paint), missing: paint.red.bind(paint) }
  const width = Math.max(...findings.map((finding) => finding.name.length))
  const lines: string[] = []
  for (const group of new Set(findings.map((finding) => finding.group))) {
    lines.push(paint.bold(group))
    for (const { name, state, detail, fix } of findings.filter((finding) => finding.group === group)) {
      lines.push(`  ${color[state](MARKS[state])} ${name.padEnd(width)}  ${detail}`.trimEnd())
      if (fix !== '') lines.push(`     ${' '.repeat(width)}  fix: ${fix}`)
    }
  }
  const bad = obstacles(findings).length
  const unwell = findings.filter((finding) => finding.state === 'warning').length
  lines.push('')
  if (bad > 0) lines.push(paint.red(`The agent cannot run here: ${bad} missing.`))
  else lines.push(paint.green('The agent can run here.') + (unwell > 0 ? ` ${unwell} to look at.` : ''))
  return `${lines.join('\n')}\n`
}
