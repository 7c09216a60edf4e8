import { type Command, Option } from 'commander'
import { SluiceError } from '../../base/errors.ts'
import { DEMO_RECORDING } from '../../lab/index.ts'
import { runReplay } from '../demo/replay.ts'
import { EXIT_OK } from '../exit-codes.ts'
import { append } from '../server-options.ts'
import { parseSettings } from './agent.ts'
import type { CommandContext } from './context.ts'

interface ReplayFlags {
  readonly speed: string
  readonly loop?: boolean
  readonly times?: 'original' | 'now'
  readonly keep?: boolean
  readonly quiet?: boolean
  readonly set?: string[]
}

const HELP = `
Needs neither root nor eBPF. Names, verdicts and L7 messages are those of the file; node names are this node's.
Metrics and gRPC are on 127.0.0.1:9965 and :4245 (or the next free ports) while it runs; no log is written unless
--set log.enabled=true --set log.path=... say so.

Examples:
  sluice replay ${DEMO_RECORDING}
  sluice replay /var/log/acns/hubble/events.log --speed max --keep --quiet
  hubble observe -o json --last 1000 > flows.jsonl; sluice replay flows.jsonl --loop`

/** `sluice replay`: an agent that reads flows from a file. */
export function addReplayCommand(program: Command, context: CommandContext): void {
  program
    .command('replay')
    .summary('run an agent on a file of flows instead of the kernel')
    .description('Replays flows of a file: shows them, counts them in metrics and answers gRPC with them.')
    .argument(
      '<file>',
      'flows as JSON lines (.gz too): a log of the agent, an export of Hubble, hubble observe -o json',
    )
    .option('--speed <factor>', '1 as they came, 2 twice as fast, max', '1')
    .option('--loop', 'begin again at the end')
    .addOption(new Option('--times <which>', 'give flows their own times or times of now').choices(['original', 'now']))
    .option('--keep', 'go on answering at the end, until Ctrl-C')
    .option('-q, --quiet', 'do not show flows')
    .option('--set <key=value>', 'set one key of the configuration; may be repeated', append)
    .addHelpText('after', HELP)
    .action(async (path: string, flags: ReplayFlags) => {
      const code = await runReplay(context.io, {
        path,
        speed: parseSpeed(flags.speed),
        loop: flags.loop === true,
        times: flags.times,
        keep: flags.keep === true,
        quiet: flags.quiet === true,
        settings: parseSettings(flags.set ?? []),
      })
      if (code !== EXIT_OK) context.exitCode = code
    })
}

/** @throws SluiceError SLUICE_USAGE */
function parseSpeed(text: string): number {
  if (text === 'max') return Number.POSITIVE_INFINITY
  const speed = /^\d*\.?\d+x?$/.test(text) ? Number.parseFloat(text) : 0
  if (speed > 0) return speed
  throw new SluiceError('SLUICE_USAGE', `Cannot use --speed "${text}": want a number above 0, or max`)
}
