import type { Command, Option } from 'commander'

export const SHELLS = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof SHELLS)[number]

/** What can be completed after some words of the command line. */
interface CommandNode {
  /** Words that lead here: `list nodes`; empty for the program itself. */
  readonly path: string
  readonly words: readonly { readonly word: string; readonly help: string }[]
  readonly options: readonly OptionNode[]
}

interface OptionNode {
  readonly long: string
  readonly short: string | undefined
  readonly help: string
  readonly takesValue: boolean
  readonly isPath: boolean
  readonly choices: readonly string[]
}

/** A script that completes commands, flags, and values of flags that take one of a few, made from the commands themselves. */
export function completionScript(program: Command, shell: Shell): string {
  const nodes = collect(program, '')
  switch (shell) {
    case 'bash':
      return bashScript(program.name(), nodes)
    case 'zsh':
      return zshScript(program.name(), nodes)
    case 'fish':
      return fishScript(program.name(), nodes)
  }
}

function collect(command: Command, path: string): CommandNode[] {
  const help = command.createHelp()
  const subcommands = help.visibleCommands(command)
  const choices = command.registeredArguments.flatMap((argument) => argument.argChoices ?? [])
  const words = [
    ...subcommands.map((each) => ({ word: each.name(), help: each.summary() || each.description() })),
    ...choices.map((word) => ({ word, help: '' })),
  ]
  const options = help.visibleOptions(command).map(optionNode)
  return [
    { path, words, options },
    ...subcommands
      .filter((each) => each.name() !== 'help')
      .flatMap((each) => collect(each, path === '' ? each.name() : `${path} ${each.name()}`)),
  ]
}

function optionNode(option: Option): OptionNode {
  return {
    long: option.long ?? '',
    short: option.short ?? undefined,
    help: option.description,
    takesValue: option.required,
    isPath: /<(path|paths|file)>/.test(option.flags),
    choices: option.argChoices ?? [],
  }
}

/** Flags of a command as words. */
function flagWords(node: CommandNode): string[] {
  return node.options.flatMap((option) => [option.long, ...(option.short ? [option.short] : [])])
}

function bashScript(name: string, nodes: readonly CommandNode[]): string {
  const commands = nodes.filter((node) => node.path !== '').map((node) => `"${node.path}"`)
  const words = nodes.map(
    (node) => `    "${node.path}") words="${[...node.words.map(({ word }) => word), ...flagWords(node)].join(' ')}" ;;`,
  )
  const values = valueCases(nodes, (key, choices) => `    ${key}) words="${choices.join(' ')}"; return ;;`)
  const files = fileCases(nodes)
  return `# bash completion for ${name}; load with: source <(${name} completion bash)
_${name}_path() {
  local word candidate
  path=""
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    candidate="\${path:+$path }$word"
    case "$candidate" in
    ${commands.join('|')}) path="$candidate" ;;
    esac
  done
}
_${name}_words() {
  words="" files=""
  case "$path $1" in
${values.join('\n')}
${files.length === 0 ? '' : `    ${files.join('|')}) files=1; return ;;\n`}  esac
  case "$path" in
${words.join('\n')}
  esac
}
_${name}() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" path words files
  _${name}_path
  _${name}_words "$previous"
  if [ -n "$files" ]; then
    COMPREPLY=($(compgen -f -- "$current"))
  else
    COMPREPLY=($(compgen -W "$words" -- "$current"))
  fi
}
complete -o default -F _${name} ${name}
`
}

/** One line of a shell's \`case\` per flag with a few values, keyed by \`path --flag\`. */
function valueCases(
  nodes: readonly CommandNode[],
  line: (key: string, choices: readonly string[]) => string,
): string[] {
  return nodes.flatMap((node) =>
    node.options
      .filter((option) => option.choices.length > 0)
      .map((option) => line(flagKeys(node, option), option.choices)),
  )
}

function fileCases(nodes: readonly CommandNode[]): string[] {
  return nodes.flatMap((node) => node.options.filter((option) => option.isPath).map((option) => flagKeys(node, option)))
}

function flagKeys(node: CommandNode, option: OptionNode): string {
  return [option.long, ...(option.short ? [option.short] : [])].map((flag) => `"${node.path} ${flag}"`).join('|')
}

/** Text inside zsh's single quotes and brackets. */
function zshText(text: string): string {
  return text.replaceAll("'", "'\\''").replaceAll('[', '\\[').replaceAll(']', '\\]').replaceAll(':', '\\:')
}

function zshScript(name: string, nodes: readonly CommandNode[]): string {
  const functions = nodes.map((node) => zshFunction(name, node, nodes))
  return `#compdef ${name}
# zsh completion for ${name}; put it into a directory of $fpath as _${name}
${functions.join('\n')}
_${name} "$@"
`
}

function zshName(name: string, path: string): string {
  return `_${name}${path === '' ? '' : `_${path.replaceAll(/[ -]/g, '_')}`}`
}

function zshFunction(name: string, node: CommandNode, nodes: readonly CommandNode[]): string {
  const specs = node.options.map((option) => {
    const flags = option.short ? `'(${option.long} ${option.short})'{${option.short},${option.long}}` : option.long
    const value = !option.takesValue
      ? ''
      : option.choices.length > 0
        ? `:value:(${option.choices.join(' ')})`
        : option.isPath
          ? ':file:_files'
          : ':value: '
    return `    ${flags}'[${zshText(option.help)}]${value}' \\`
  })
  const children = node.words.filter(({ word }) =>
    nodes.some((each) => each.path === (node.path === '' ? word : `${node.path} ${word}`)),
  )
  const dispatch = children.map(
    ({ word }) => `      ${word}) ${zshName(name, node.path === '' ? word : `${node.path} ${word}`)} ;;`,
  )
  const described = node.words.map(({ word, help }) => `    '${word}${help === '' ? '' : `:${zshText(help)}`}'`)
  return `${zshName(name, node.path)}() {
  local context state line
  local -a words_here=(
${described.join('\n')}
  )
  _arguments -C \\
${specs.join('\n')}
    '1: :->first' '*:: :->rest'
  case $state in
    first) _describe 'command' words_here ;;
    rest) case $words[1] in
${dispatch.join('\n')}
      *) _files ;;
    esac ;;
  esac
}`
}

/** Text inside fish's single quotes. */
function fishText(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")
}

function fishScript(name: string, nodes: readonly CommandNode[]): string {
  const lines = [`# fish completion for ${name}`, `complete -c ${name} -f`]
  for (const node of nodes) {
    const condition = fishCondition(node, nodes)
    for (const { word, help } of node.words) {
      lines.push(`complete -c ${name} -n '${condition}' -a '${word}' -d '${fishText(help)}'`)
    }
    for (const option of node.options) {
      const short = option.short ? ` -s ${option.short.slice(1)}` : ''
      const long = option.long === '' ? '' : ` -l ${option.long.slice(2)}`
      const value = !option.takesValue
        ? ''
        : option.choices.length > 0
          ? ` -x -a '${option.choices.join(' ')}'`
          : option.isPath
            ? ' -r -F'
            : ' -x'
      lines.push(`complete -c ${name} -n '${condition}'${short}${long}${value} -d '${fishText(option.help)}'`)
    }
  }
  return `${lines.join('\n')}\n`
}

/** True on the command line of this command and not of one below it. */
function fishCondition(node: CommandNode, nodes: readonly CommandNode[]): string {
  const below = nodes.filter(
    (each) => each.path !== node.path && each.path.startsWith(node.path === '' ? '' : `${node.path} `),
  )
  const next = [
    ...new Set(below.map((each) => each.path.slice(node.path === '' ? 0 : node.path.length + 1).split(' ')[0]!)),
  ]
  const none = next.length === 0 ? '' : `not __fish_seen_subcommand_from ${next.join(' ')}`
  if (node.path === '') return none
  const seen = node.path.split(' ').map((word) => `__fish_seen_subcommand_from ${word}`)
  return [...seen, none].filter((text) => text !== '').join('; and ')
}
