import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
} from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Directories of this machine that stand for the image's Debian. */
const SYSTEM = ['usr', 'bin', 'sbin', 'lib', 'lib64']

/**
 * Lays out a directory as the last stage of the Dockerfile fills the image, out of a build of this machine: what it
 * copies, and Node with its file capabilities at /usr/local/bin/node. Debian's files are mounted by PodSandbox.
 *
 * @param build root of a built tree
 * @throws Error when the Dockerfile copies what the build has not
 */
export function layOutImage(directory: string, build: string): void {
  const stage = readFileSync('Dockerfile', 'utf8')
    .replace(/\\\n/g, '')
    .split(/^FROM /m)
    .at(-1)!
  // Everybody may enter the image's root.
  chmodSync(directory, 0o755)
  const place = (to: string) => join(directory, 'app', to)
  for (const [, from, paths] of stage.matchAll(/^COPY (?:--from=(\w+) )?(.+)$/gm)) {
    const words = paths!.trim().split(/\s+/)
    const to = words.pop()!
    for (const word of words) {
      const source = word.replace(/^\/(src|app)\//, '')
      const target = to.endsWith('/') ? join(to, source.split('/').at(-1)!) : to
      mkdirSync(dirname(place(target)), { recursive: true })
      if (from === 'modules') copyModules(build, place(target))
      else cpSync(join(build, source), place(target), { recursive: true })
    }
  }
  const [, capabilities] = /setcap (\S+)/.exec(stage) ?? []
  const [, path, link] = /ln -s (\S+) (\S+)/.exec(stage) ?? []
  const node = join(directory, 'usr/local/bin/node')
  mkdirSync(dirname(node), { recursive: true })
  copyFileSync(process.execPath, node)
  chmodSync(node, 0o755)
  execFileSync('setcap', [capabilities!, node])
  symlinkSync(path!, join(directory, link!))
}

/** What `npm ci --omit=dev` installs, out of what is installed. */
function copyModules(build: string, target: string): void {
  const { packages } = JSON.parse(readFileSync(join(build, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { dev?: boolean }>
  }
  for (const [path, { dev }] of Object.entries(packages)) {
    // Optional packages for other platforms are in the file and not installed.
    if (path === '' || dev || !existsSync(join(build, path))) continue
    const isOwn = (source: string) => !relative(join(build, path), source).startsWith('node_modules')
    cpSync(join(build, path), join(dirname(target), path), { recursive: true, filter: isOwn })
  }
}

/** A directory of this machine, by the name of the volume that it is. */
export type Volumes = ReadonlyMap<string, string>

/**
 * Runs containers of a pod as a runtime does, as far as this can be without one: a mount namespace of their own with the
 * image as root, read-only if they want it so, the pod's volumes in it, user and capabilities and no_new_privs of the
 * securityContext, the given network. Without a seccomp filter, an AppArmor profile and limits of resources. Needs root.
 */
export class PodSandbox {
  readonly #image: string
  readonly #volumes: Volumes
  readonly #netns: string

  constructor(options: { readonly image: string; readonly volumes: Volumes; readonly netns: string }) {
    this.#image = options.image
    this.#volumes = options.volumes
    this.#netns = options.netns
  }

  /** Starts a container; the process is its own, not one around it. Standard output and error are piped. */
  start(container: Container, env: Readonly<Record<string, string>>): ChildProcess {
    const script = [...this.#mounts(container), `exec chroot ${this.#image} "$@"`].join('\n')
    const around = [`--net=${this.#netns}`, 'unshare', '--mount', '--propagation', 'private', 'sh', '-ec', script, 'sh']
    const command = [...(container.command ?? this.#entrypoint()), ...(container.args ?? [])]
    return spawn('nsenter', [...around, ...withEnvironment(env), ...asItsUser(container), ...command], {
      env: { PATH: `${process.env['PATH']}:/usr/sbin:/sbin` },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
  }

  /** As `kubectl exec`, with the environment that the container has. @throws Error when it fails */
  async exec(running: ChildProcess, container: Container, command: readonly string[]): Promise<string> {
    const environment = readFileSync(`/proc/${running.pid}/environ`, 'utf8').split('\0').filter(Boolean)
    const target = ['--target', String(running.pid), '--mount', '--net', '--root', '--wd=/']
    const args = [...target, '/usr/bin/env', '-i', ...environment, ...asItsUser(container), ...command]
    return (await run('nsenter', args, { maxBuffer: 1 << 26 })).stdout
  }

  #entrypoint(): string[] {
    return JSON.parse(/^ENTRYPOINT (.+)$/m.exec(readFileSync('Dockerfile', 'utf8'))![1]!)
  }

  /** Lines of a shell script that build the container's root. */
  #mounts({ volumeMounts, securityContext }: Container): string[] {
    const root = this.#image
    const lines = [`mount --bind ${root} ${root}`]
    const at = (path: string) => {
      mkdirSync(join(root, path), { recursive: true })
      return join(root, path)
    }
    for (const name of SYSTEM) {
      if (lstatSync(`/${name}`, { throwIfNoEntry: false })?.isSymbolicLink()) {
        if (!lstatSync(join(root, name), { throwIfNoEntry: false }))
          symlinkSync(readlinkSync(`/${name}`), join(root, name))
      } else if (name === 'usr') {
        // The image's own /usr/local over this machine's.
        lines.push(`mount --bind ${at('usr/local')} ${at('.local')}`, `mount --bind -o ro /usr ${at('usr')}`)
        lines.push(`mount --bind ${at('.local')} ${root}/usr/local`)
      } else {
        lines.push(`mount --bind -o ro /${name} ${at(name)}`)
      }
    }
    lines.push(
      `mount -t sysfs -o ro sysfs ${at('sys')}`,
      `mount --rbind /proc ${at('proc')}`,
      `mount --rbind /dev ${at('dev')}`,
    )
    for (const { name, mountPath, readOnly } of volumeMounts) {
      const source = this.#volumes.get(name)
      if (source === undefined) throw new Error(`No directory for the volume ${name} at ${mountPath}`)
      lines.push(`mount --bind ${source} ${at(mountPath)}`)
      if (readOnly) lines.push(`mount -o remount,bind,ro ${at(mountPath)}`)
    }
    if (securityContext.readOnlyRootFilesystem) lines.push(`mount -o remount,bind,ro ${root}`)
    return lines
  }
}

/** A container of a pod's spec, as far as it is heeded here. */
export interface Container {
  readonly command?: readonly string[]
  readonly args?: readonly string[]
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string; readonly readOnly?: boolean }[]
  readonly securityContext: {
    readonly runAsUser: number
    readonly runAsGroup: number
    readonly allowPrivilegeEscalation: boolean
    readonly readOnlyRootFilesystem: boolean
    readonly capabilities: { readonly add: readonly string[] }
  }
}

/** The container's environment and nothing of this process'. */
function withEnvironment(env: Readonly<Record<string, string>>): string[] {
  const variables = Object.entries({ PATH: '/usr/local/bin:/usr/bin:/bin', ...env })
  return ['/usr/bin/env', '-i', ...variables.map(([name, value]) => `${name}=${value}`)]
}

/** Drops all rights but those of the container; nothing is inheritable or ambient, as in a pod. */
function asItsUser({ securityContext }: Container): string[] {
  const { runAsUser, runAsGroup, allowPrivilegeEscalation, capabilities } = securityContext
  const bounding = ['-all', ...capabilities.add.map((name) => `+${name.toLowerCase()}`)].join(',')
  return [
    ...['setpriv', '--reuid', String(runAsUser), '--regid', String(runAsGroup), '--clear-groups'],
    ...['--inh-caps', '-all', '--ambient-caps', '-all', '--bounding-set', bounding],
    ...(allowPrivilegeEscalation ? [] : ['--no-new-privs']),
    '--',
  ]
}
