import { type Command, Option } from 'commander'
import type { GetLedgerResponse } from '../../api/gen/sluice/v1/agent.ts'
import { EXIT_NOT_CLOSED } from '../exit-codes.ts'
import { writeText } from '../io.ts'
import { jsonTime } from '../observe/time.ts'
import { type Paint, paintFor } from '../paint.ts'
import { addServerOptions, openClient, type ServerOptions } from '../server-options.ts'
import { formatTable, withCommas } from '../table.ts'
import type { CommandContext } from './context.ts'
import { needsSluice } from './status.ts'

interface LedgerOptions extends ServerOptions {
  readonly output: 'table' | 'wide' | 'json'
}

const DETAILS = `
Every stage counts what it accepted, delivered, left out on purpose (filtered), still holds (waiting) and lost, by reason:

  accepted = delivered + filtered + waiting + lost

and the kernel's counters have equations of their own. The ledger closes when every difference is 0; the command ends
with 3 when one is not. Counts are read one after the other while packets pass, so that a difference of a few can show
for an instant: look again before worrying.

Examples:
  sluice ledger
  sluice ledger -o wide         all counters of the kernel
  sluice ledger -o json | jq '.stages[] | select(.lost)'`

/** `sluice ledger`: where every packet and every flow went. */
export function addLedgerCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('ledger')
    .summary('account for every packet and flow: delivered, filtered, waiting, lost')
    .description('Shows the counts of every stage of an agent and whether they add up.')
    .addOption(
      new Option('-o, --output <format>', 'table, wide: with the counters of the kernel, json')
        .choices(['table', 'wide', 'json'])
        .default('table'),
    )
    .addHelpText('after', DETAILS)
  addServerOptions(command.optionsGroup('Server:'))
  command.action(async (options: LedgerOptions) => {
    using client = await openClient(options)
    const ledger = await client.ledger().catch((error) => {
      throw needsSluice(error, 'the ledger')
    })
    if (!ledger.closes) context.exitCode = EXIT_NOT_CLOSED
    const text =
      options.output === 'json'
        ? `${ledgerJson(ledger)}\n`
        : ledgerText(ledger, paintFor(context.io), options.output === 'wide')
    await writeText(context.io.stdout, text)
  })
}

/** One object on one line; counts are numbers, zeros are there. */
export function ledgerJson(ledger: GetLedgerResponse): string {
  const time = ledger.time ? jsonTime(ledger.time) : undefined
  return JSON.stringify({ ...ledger, time }, (_, value) => (typeof value === 'bigint' ? Number(value) : value))
}

/** @param all with every counter of the kernel */
export function ledgerText(ledger: GetLedgerResponse, paint: Paint, all: boolean): string {
  const difference = (value: bigint) => (value === 0n ? paint.green('0') : paint.red(withCommas(value)))
  const parts: string[] = []
  if (ledger.equations.length > 0) {
    parts.push(
      formatTable([
        ['KERNEL', 'LEFT', 'RIGHT', 'DIFFERENCE'],
        ...ledger.equations.map((each) => [
          each.text,
          withCommas(each.left),
          withCommas(each.right),
          difference(each.difference),
        ]),
      ]),
    )
  }
  parts.push(
    formatTable([
      ['STAGE', 'ACCEPTED', 'DELIVERED', 'FILTERED', 'WAITING', 'LOST', 'DIFFERENCE'],
      ...ledger.stages.map((stage) => [
        stage.stage,
        withCommas(stage.accepted),
        withCommas(stage.delivered),
        withCommas(stage.filtered),
        withCommas(stage.waiting),
        lostText(stage.lost, paint),
        difference(stage.difference),
      ]),
    ]),
  )
  if (all && ledger.kernel.length > 0) {
    parts.push(formatTable([['COUNTER', 'VALUE'], ...ledger.kernel.map((each) => [each.name, withCommas(each.value)])]))
  }
  parts.push(ledger.closes ? `${paint.green('The ledger closes.')}\n` : `${paint.red('The ledger does not close.')}\n`)
  return parts.join('\n')
}

function lostText(lost: GetLedgerResponse['stages'][number]['lost'], paint: Paint): string {
  const reasons = Object.entries(lost).filter(([, count]) => count > 0n)
  if (reasons.length === 0) return '0'
  const sum = reasons.reduce((total, [, count]) => total + count, 0n)
  return paint.red(
    `${withCommas(sum)} (${reasons.map(([reason, count]) => `${reason} ${withCommas(count)}`).join(', ')})`,
  )
}
