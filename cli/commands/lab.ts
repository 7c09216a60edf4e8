import { setTimeout as sleep } from 'node:timers/promises'
import type { Command } from 'commander'
import { SluiceError } from '../../base/errors.ts'
import { DEMO_LAB, enterArguments, type KnownLab, knownLabs, Lab, packagePath, sweepLabs } from '../../lab/index.ts'
import { sweepDemoPins } from '../demo/pins.ts'
import { writeText } from '../io.ts'
import { formatTable } from '../table.ts'
import type { CommandContext } from './context.ts'

/** How long `lab down` waits for the owner to clean up. */
const DOWN_MS = 10_000

const HELP = `
A lab is nodes and pods made of network namespaces, with real processes in them; lab/README.md describes the file.
It lives as long as the command that made it.

Examples:
  sudo sluice lab up --id try                        the demo's lab, until Ctrl-C
  sudo sluice lab list
  sudo sluice lab exec try ops/prober-0 -- ping -c1 10.244.1.11
  sudo sluice agent --set node.netns=/run/netns/sluice-try.node.node-1 \\
       --set metadata.file=/run/sluice-lab/try/metadata.yaml`

/** `sluice lab up|list|exec|down|sweep` */
export function addLabCommand(program: Command, context: CommandContext): void {
  const { io } = context
  const lab = program
    .command('lab')
    .summary('build nodes and pods out of network namespaces')
    .addHelpText('after', HELP)
  lab
    .command('up')
    .description('Builds a lab and holds it up until Ctrl-C or SIGTERM.')
    .argument('[file]', `lab file (YAML); default: ${DEMO_LAB}`)
    .option('--id <name>', 'name of the lab on this machine')
    .option('--no-workloads', 'leave the pods empty')
    .action(async (file: string | undefined, options: { id?: string; workloads: boolean }) => {
      await using up = await Lab.up(file ?? packagePath(DEMO_LAB), {
        ...(options.id === undefined ? {} : { id: options.id }),
        workloads: options.workloads,
      })
      await writeText(io.stdout, labText(up))
      await aborted(io.signal)
    })
  lab
    .command('list')
    .description('Labs of this machine.')
    .option('-o, --output <format>', 'table or json', 'table')
    .action(async (options: { output: string }) => {
      const labs = knownLabs()
      await writeText(io.stdout, options.output === 'json' ? `${JSON.stringify(labs, undefined, 2)}\n` : listText(labs))
    })
  lab
    .command('exec')
    .description('Runs a command in a pod, a node (its name) or the world (world).')
    .argument('<id>', 'name of the lab')
    .argument('<where>', 'namespace/pod, node, or world')
    .argument('<command...>', 'command and arguments')
    .passThroughOptions()
    .action(async (id: string, where: string, command: string[]) => {
      // Everything behind <where> is passed on, the -- that ends this program's own options too.
      context.exitCode = await execInLab(id, where, command[0] === '--' ? command.slice(1) : command)
    })
  lab
    .command('down')
    .description('Ends a lab: tells its owner to, or removes what a killed owner left.')
    .argument('<id>', 'name of the lab')
    .action(async (id: string) => {
      await down(id)
    })
  lab
    .command('sweep')
    .description('Removes what killed labs and demos left behind, pins too. Labs whose owner lives stay.')
    .action(async () => {
      const swept = [...new Set([...(await sweepLabs()), ...sweepDemoPins()])]
      await writeText(io.stdout, swept.length === 0 ? 'Nothing to remove.\n' : `Removed: ${swept.join(', ')}\n`)
    })
}

/** What a reader of a terminal wants to know of a lab that is up. */
export function labText(lab: Lab): string {
  const rows = lab.pods.map((pod) => [pod.ref, pod.ips[0], pod.ips[1], pod.nodeName, pod.device])
  return [
    `Lab "${lab.id}": ${lab.nodes.length} ${lab.nodes.length === 1 ? 'node' : 'nodes'}, ${lab.pods.length} pods`,
    '',
    formatTable([['POD', 'IPV4', 'IPV6', 'NODE', 'DEVICE'], ...rows]),
    ...lab.nodes.map((node) => `Node ${node.name}: ${node.netnsPath}`),
    `Metadata: ${lab.metadataPath}`,
    ...lab.warnings.map((warning) => `Left out: ${warning}`),
    '',
  ].join('\n')
}

/** Ends when the signal fires. */
export function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => {
    // An abort listener alone does not keep the process alive.
    const alive = setInterval(() => {}, 1 << 30)
    signal.addEventListener(
      'abort',
      () => {
        clearInterval(alive)
        resolve()
      },
      { once: true },
    )
  })
}

function listText(labs: readonly KnownLab[]): string {
  if (labs.length === 0) return 'No labs.\n'
  return formatTable([
    ['ID', 'OWNER', 'STATE', 'NAMESPACES', 'SINCE', 'FROM'],
    ...labs.map((each) => [
      each.id,
      String(each.pid),
      each.alive ? 'up' : 'left behind',
      String(each.netns.length),
      each.createdAt,
      each.source,
    ]),
  ])
}

function known(id: string): KnownLab {
  const found = knownLabs().find((each) => each.id === id)
  if (found) return found
  throw new SluiceError('SLUICE_USAGE', `No lab "${id}" on this machine`, { remedy: '`sluice lab list` names them' })
}

async function execInLab(id: string, where: string, command: readonly string[]): Promise<number> {
  const lab = known(id)
  const suffix = where === 'world' ? 'world' : where.includes('/') ? `pod.${where.replace('/', '.')}` : `node.${where}`
  const name = `sluice-${id}.${suffix}`
  if (!lab.netns.includes(name)) {
    throw new SluiceError('SLUICE_USAGE', `No "${where}" in lab "${id}": want namespace/pod, a node's name, or world`)
  }
  const { spawn } = await import('node:child_process')
  const [program, args] = enterArguments(name, command[0]!, command.slice(1))
  const child = spawn(program, args, { stdio: 'inherit' })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve(code ?? 1))
  })
}

async function down(id: string): Promise<void> {
  const lab = known(id)
  if (!lab.alive) {
    await sweepLabs()
    return
  }
  process.kill(lab.pid, 'SIGTERM')
  for (let waited = 0; waited < DOWN_MS; waited += 50) {
    const now = knownLabs().find((each) => each.id === id)
    if (!now) return
    if (!now.alive) {
      await sweepLabs()
      return
    }
    await sleep(50)
  }
  throw new SluiceError('SLUICE_LAB', `Lab "${id}" is still up: process ${lab.pid} did not end within ${DOWN_MS} ms`)
}
