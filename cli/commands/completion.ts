import { Argument, type Command } from 'commander'
import { completionScript, SHELLS, type Shell } from '../completion.ts'
import { writeText } from '../io.ts'
import type { CommandContext } from './context.ts'

const HELP = `
Examples:
  source <(sluice completion bash)                                        this shell
  sluice completion bash > /etc/bash_completion.d/sluice                  all shells from now on
  sluice completion zsh > "\${fpath[1]}/_sluice"
  sluice completion fish > ~/.config/fish/completions/sluice.fish`

/** `sluice completion bash|zsh|fish` */
export function addCompletionCommand(program: Command, context: CommandContext): void {
  program
    .command('completion')
    .summary('print a completion script for bash, zsh or fish')
    .addArgument(new Argument('<shell>', 'your shell').choices(SHELLS))
    .addHelpText('after', HELP)
    .action(async (shell: Shell) => {
      await writeText(context.io.stdout, completionScript(program, shell))
    })
}
