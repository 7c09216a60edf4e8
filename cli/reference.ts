import type { Command } from 'commander'
import { EXIT_CODES } from './exit-codes.ts'

/** Every command with its arguments, flags and examples, as Markdown: docs/cli-reference.md. */
export function referenceText(program: Command): string {
  const parts = [
    '# Reference of the command line\n',
    'Written from the commands themselves (`npx vitest run --project unit cli/reference.test.ts -u` writes it again).\n',
    '## Exit codes\n',
    '| code | meaning |\n| --- | --- |',
    ...Object.values(EXIT_CODES).map(({ code, meaning }) => `| ${code} | ${meaning} |`),
    '',
  ]
  for (const command of program.commands) parts.push(...commandText(command, program.name()))
  return `${parts.join('\n')}`
}

function commandText(command: Command, parent: string): string[] {
  const name = `${parent} ${command.name()}`
  const help = command.createHelp()
  const parts = [`## ${name}\n`]
  const description = command.description() || command.summary()
  if (description !== '') parts.push(`${description}\n`)
  parts.push(`\`${parent} ${help.subcommandTerm(command)}\`\n`)
  const rows = [
    ...help.visibleArguments(command).map((argument) => [argument.name(), help.argumentDescription(argument)]),
    ...help
      .visibleOptions(command)
      .filter((option) => option.long !== '--help')
      .map((option) => [option.flags, help.optionDescription(option)]),
  ]
  if (rows.length > 0) {
    parts.push('| flag | meaning |\n| --- | --- |')
    parts.push(...rows.map((row) => `| \`${row[0]}\` | ${row[1]!.replaceAll('|', '\\|')} |`), '')
  }
  return [...parts, ...command.commands.flatMap((below) => commandText(below, name))]
}
