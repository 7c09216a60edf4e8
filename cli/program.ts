import { Command, CommanderError } from 'commander'
import { errorText, SluiceError } from '../base/errors.ts'
import { addAgentCommand } from './commands/agent.ts'
import { addCompletionCommand } from './commands/completion.ts'
import type { CommandContext } from './commands/context.ts'
import { addDemoCommand } from './commands/demo.ts'
import { addDoctorCommand } from './commands/doctor.ts'
import { addFiltersCommand } from './commands/filters.ts'
import { addLabCommand } from './commands/lab.ts'
import { addLedgerCommand } from './commands/ledger.ts'
import { addListCommand } from './commands/list.ts'
import { addObserveCommand } from './commands/observe.ts'
import { addReplayCommand } from './commands/replay.ts'
import { addStatusCommand } from './commands/status.ts'
import { addVersionCommand, cliVersion } from './commands/version.ts'
import { EXIT_FAILED, EXIT_OK, EXIT_USAGE, exitCodeHelp, exitCodeOf } from './exit-codes.ts'
import type { Io } from './io.ts'
import { paintFor } from './paint.ts'

/** Width of --help where the terminal does not say. */
const HELP_WIDTH = 120

/** All commands. A program is made for one run: filter flags are gathered while its command line is read. */
export function createProgram(context: CommandContext): Command {
  const { io } = context
  const program = new Command('sluice')
  program
    .description('Sees every packet of a Kubernetes node’s pods, and tells of it as flows.')
    .version(cliVersion(), '-V, --version', 'print the version')
    .helpCommand('help [command]', 'help for a command')
    .addHelpText(
      'after',
      `\n${exitCodeHelp()}\n\nStart with:\n  sudo sluice doctor\n  sudo sluice demo\n  sluice observe -f`,
    )
    .enablePositionalOptions()
    .showHelpAfterError('(--help tells what there is)')
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      getOutHelpWidth: () => io.stdout.columns ?? HELP_WIDTH,
      getErrHelpWidth: () => io.stderr.columns ?? HELP_WIDTH,
      getOutHasColors: () => paintFor(io).enabled,
      getErrHasColors: () => paintFor(io, 'auto', io.stderr).enabled,
    })
    .exitOverride()
  const add = [
    addObserveCommand,
    addStatusCommand,
    addListCommand,
    addLedgerCommand,
    addFiltersCommand,
    addDemoCommand,
    addLabCommand,
    addAgentCommand,
    addReplayCommand,
    addDoctorCommand,
    addCompletionCommand,
    addVersionCommand,
  ]
  for (const each of add) each(program, context)
  for (const command of program.commands) {
    command.copyInheritedSettings(program)
    for (const below of command.commands) below.copyInheritedSettings(program)
  }
  return program
}

/**
 * Runs one command line.
 *
 * @param args without node and the script
 * @returns exit code, see EXIT_CODES
 */
export async function runCli(args: readonly string[], io: Io): Promise<number> {
  const context: CommandContext = { io, exitCode: EXIT_OK }
  const program = createProgram(context)
  try {
    await program.parseAsync(normalized(args), { from: 'user' })
    return context.exitCode
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_OK : EXIT_USAGE
    if (isBrokenPipe(error)) return EXIT_OK
    const paint = paintFor(io, 'auto', io.stderr)
    io.stderr.write(`${paint.red('error:')} ${errorText(error)}\n`)
    if (SluiceError.is(error)) io.stderr.write(`${paint.dim('fix:')}   ${error.remedy}\n`)
    else if (io.env['SLUICE_DEBUG']) io.stderr.write(`${(error as Error).stack}\n`)
    return SluiceError.is(error) ? exitCodeOf(error) : EXIT_FAILED
  }
}

/** The reader of standard output has gone: `sluice observe | head`. */
function isBrokenPipe(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | undefined)?.code === 'EPIPE'
}

/** Flags of hubble that are true or false and may be written with `=`: commander wants them bare. */
const BARE_FLAG =
  /^(--(?:not|encrypted|unencrypted|all-namespaces|from-all-namespaces|to-all-namespaces|all|follow|tls|numeric|debug|tls-allow-insecure|print-[a-z-]+|silent-errors))=(true|false)$/

/** `--follow=true` as `--follow`, `--follow=false` as nothing. hubble ignores the value of filter flags; so does this. */
function normalized(args: readonly string[]): string[] {
  const filters = /^--(not|encrypted|unencrypted|(from-|to-)?all-namespaces)$/
  return args.flatMap((arg) => {
    const match = BARE_FLAG.exec(arg)
    if (!match) return [arg]
    return match[2] === 'true' || filters.test(match[1]!) ? [match[1]!] : []
  })
}
