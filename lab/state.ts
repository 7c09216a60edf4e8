import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { SluiceError } from '../base/errors.ts'
import { runCommand } from './commands.ts'
import { netnsPrefix } from './layout.ts'

/** Where labs of this machine are known. A directory per lab: `lab.json`, its metadata file, its workloads' log. */
export const STATE_DIR = '/run/sluice-lab'
export const NETNS_DIR = '/run/netns'

/** What is written before the first namespace is made, so that whatever a killed lab leaves behind has a name. */
export interface LabRecord {
  readonly id: string
  /** The process that holds the lab up. */
  readonly pid: number
  /** Field 22 of /proc/<pid>/stat: tells the process from a later one of the same number. */
  readonly startTime: string
  /** ISO 8601. */
  readonly createdAt: string
  /** Name of the description: a file's path or `code`. */
  readonly source: string
}

/** A lab that this machine knows, alive or left behind. */
export interface KnownLab extends LabRecord {
  readonly directory: string
  /** The owner still runs. */
  readonly alive: boolean
  /** Namespaces of it that exist. */
  readonly netns: readonly string[]
}

/** Makes the lab's directory and says who owns it. @throws SluiceError SLUICE_LAB when the id is taken */
export function recordLab(id: string, source: string, stateDir = STATE_DIR): string {
  const directory = join(stateDir, id)
  mkdirSync(stateDir, { recursive: true, mode: 0o755 })
  try {
    mkdirSync(directory, { mode: 0o755 })
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause
    throw new SluiceError('SLUICE_LAB', `Cannot name a lab "${id}": "${directory}" exists`, {
      cause,
      remedy: 'Give another --id, or remove what a killed lab left behind: `sluice lab sweep`',
    })
  }
  const record: LabRecord = {
    id,
    pid: process.pid,
    startTime: startTimeOf(process.pid) ?? '',
    createdAt: new Date().toISOString(),
    source,
  }
  writeFileSync(join(directory, 'lab.json'), `${JSON.stringify(record)}\n`)
  return directory
}

/** All labs of this machine. */
export function knownLabs(stateDir = STATE_DIR): KnownLab[] {
  const labs: KnownLab[] = []
  for (const id of existsSync(stateDir) ? readdirSync(stateDir) : []) {
    const directory = join(stateDir, id)
    let record: LabRecord
    try {
      record = JSON.parse(readFileSync(join(directory, 'lab.json'), 'utf8'))
    } catch {
      continue
    }
    if (record.id !== id) continue
    labs.push({
      ...record,
      directory,
      alive: record.startTime !== '' && startTimeOf(record.pid) === record.startTime,
      netns: netnsOf(id),
    })
  }
  return labs
}

/** Namespaces of a lab, by name. */
function netnsOf(id: string): string[] {
  return existsSync(NETNS_DIR) ? readdirSync(NETNS_DIR).filter((name) => name.startsWith(netnsPrefix(id))) : []
}

/** Start time of a process in clock ticks since boot, as text; undefined when there is none. */
export function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The command name may hold spaces and parentheses: fields are counted from the last one.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined
  }
}

/** Removes what labs of dead owners left behind. @returns their ids */
export async function sweepLabs(stateDir = STATE_DIR): Promise<string[]> {
  const swept: string[] = []
  for (const lab of knownLabs(stateDir)) {
    if (lab.alive) continue
    await removeNetns(lab.netns)
    await unmountBelow(lab.directory)
    rmSync(lab.directory, { recursive: true, force: true })
    swept.push(lab.id)
  }
  return swept
}

/** What the owner had mounted in the lab's directory (a bpffs, where the machine has none) would keep it from going. */
async function unmountBelow(directory: string): Promise<void> {
  const mounts = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
  for (const path of mounts.filter((each) => each.startsWith(`${directory}/`))) await runCommand('umount', [path])
}

/** Ends what still runs inside namespaces and deletes them. */
export async function removeNetns(names: readonly string[]): Promise<void> {
  if (names.length === 0) return
  await killInside(names)
  const { stderr } = await runCommand('ip', ['-force', '-batch', '-'], {
    input: names.map((name) => `netns delete ${name}\n`).join(''),
  })
  const left = names.filter((name) => existsSync(join(NETNS_DIR, name)))
  if (left.length > 0) {
    throw new SluiceError('SLUICE_LAB', `Cannot remove namespace "${left[0]}": ${stderr.trim()}`)
  }
}

/**
 * Kills processes that live in the namespaces. One that only passes through (an agent that looks at a pod's
 * addresses enters for microseconds) is not met twice, 30 ms apart.
 */
async function killInside(names: readonly string[]): Promise<void> {
  const inodes = new Set<string>()
  for (const name of names) {
    try {
      inodes.add(`net:[${statSync(join(NETNS_DIR, name)).ino}]`)
    } catch {}
  }
  const first = processesIn(inodes)
  if (first.size === 0) return
  await sleep(30)
  for (const [pid, startTime] of processesIn(inodes)) {
    if (first.get(pid) !== startTime || pid === process.pid) continue
    try {
      process.kill(pid, 'SIGKILL')
    } catch {}
  }
  for (let waited = 0; waited < 2000 && processesIn(inodes).size > 0; waited += 20) await sleep(20)
}

function processesIn(inodes: ReadonlySet<string>): Map<number, string> {
  const found = new Map<number, string>()
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry)
    if (!Number.isInteger(pid)) continue
    try {
      if (inodes.has(readlinkSync(`/proc/${pid}/ns/net`))) found.set(pid, startTimeOf(pid) ?? '')
    } catch {}
  }
  return found
}
