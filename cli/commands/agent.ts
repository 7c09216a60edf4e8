import { type Command, Option } from 'commander'
import { SluiceError } from '../../base/errors.ts'
import { append } from '../server-options.ts'
import type { CommandContext } from './context.ts'

interface AgentFlags {
  readonly config?: string
  readonly dryRun?: boolean
  readonly purge?: boolean
  readonly set?: string[]
  readonly logLevel?: string
  readonly logFormat?: string
}

const HELP = `
Settings come from the file, then from the environment (SLUICE_LOG_MAX_BACKUPS is log.maxBackups), then from --set; each
later one wins. docs/config.md lists the keys. Without a file, the defaults hold.

Examples:
  sluice agent --config /etc/sluice/config.yaml
  sluice agent --config config.yaml --dry-run       checks settings and loads the programs, attaches nothing
  sluice agent --config config.yaml --purge         removes programs, counters and pins that agents left in the kernel
  sluice agent --set api.listen=127.0.0.1:4245 --set log.path=/tmp/events.log`

/** `sluice agent`: observes this node until it is told to stop. */
export function addAgentCommand(program: Command, context: CommandContext): void {
  program
    .command('agent')
    .summary('observe this node: flows to the log, to metrics and to the API')
    .description('Runs the node agent until SIGTERM or Ctrl-C. Needs root, or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON.')
    .option('-c, --config <path>', 'configuration (YAML)')
    .option('--dry-run', 'load and verify everything, attach nothing, end')
    .option('--purge', 'remove what agents left in the kernel for the next one, end')
    .option('--set <key=value>', 'set one key of the configuration; may be repeated', append)
    .addOption(new Option('--log-level <level>', "of the agent's own log").choices(['debug', 'info', 'warn', 'error']))
    .addOption(new Option('--log-format <format>', "of the agent's own log").choices(['json', 'text']))
    .addHelpText('after', HELP)
    .action(async (flags: AgentFlags) => {
      const overrides: Record<string, unknown> = {
        ...parseSettings(flags.set ?? []),
        ...(flags.logLevel === undefined ? {} : { 'agentLog.level': flags.logLevel }),
        ...(flags.logFormat === undefined ? {} : { 'agentLog.format': flags.logFormat }),
      }
      if (flags.purge === true) {
        const { purgeNode } = await import('../../agent/purge.ts')
        context.exitCode = purgeNode({ ...(flags.config === undefined ? {} : { configPath: flags.config }), overrides })
        return
      }
      const { runAgent } = await import('../../agent/main.ts')
      context.exitCode = await runAgent({
        ...(flags.config === undefined ? {} : { configPath: flags.config }),
        overrides,
        dryRun: flags.dryRun === true,
        signal: context.io.signal,
      })
    })
}

/** `key=value` texts as dotted keys to values. @throws SluiceError SLUICE_USAGE */
export function parseSettings(texts: readonly string[]): Record<string, string> {
  const settings: Record<string, string> = {}
  for (const text of texts) {
    const equals = text.indexOf('=')
    if (equals < 1) {
      throw new SluiceError('SLUICE_USAGE', `Cannot use --set "${text}": want key=value, for example log.maxBackups=3`)
    }
    settings[text.slice(0, equals)] = text.slice(equals + 1)
  }
  return settings
}
