import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { missingTools } from '../../helpers/kubernetes-tools.ts'

const FOLDER = fileURLToPath(new URL('./', import.meta.url))

/** Programs that are built here from the versions that go.mod pins. */
const PACKAGES = {
  etcd: 'go.etcd.io/etcd/server/v3',
  'kube-apiserver': 'k8s.io/kubernetes/cmd/kube-apiserver',
} as const

export type Program = keyof typeof PACKAGES

/** Version of Kubernetes as go.mod pins it, `1.35.4`. */
export const KUBERNETES_VERSION = pinned('k8s.io/kubernetes')

/** Why these tests cannot run here; undefined: they can. */
export const missing =
  missingTools ?? (spawnSync('go', ['version']).status === 0 ? undefined : 'needs Go 1.25 or later')

/** Where a program is, or will be once it is built. */
export function programPath(program: Program): string {
  return fileURLToPath(new URL(`../bin/${program}`, import.meta.url))
}

/** Builds both: four minutes of two processors at first (measured), a second later. */
export function buildPrograms(): void {
  for (const program of Object.keys(PACKAGES) as Program[]) {
    execFileSync(
      'go',
      ['build', '-trimpath', `-ldflags=-s -w ${versionFlags()}`, '-o', programPath(program), PACKAGES[program]],
      { cwd: FOLDER, stdio: ['ignore', 'ignore', 'inherit'] },
    )
  }
}

/** The version is written into the program when it is linked; without it kubectl meets a server `v0.0.0-master`. */
function versionFlags(): string {
  const [major, minor] = KUBERNETES_VERSION.split('.')
  const variables = { gitVersion: `v${KUBERNETES_VERSION}`, gitMajor: major, gitMinor: minor }
  return Object.entries(variables)
    .map(([name, value]) => `-X k8s.io/component-base/version.${name}=${value}`)
    .join(' ')
}

function pinned(module: string): string {
  const found = new RegExp(`^\\s*${module} v(\\S+)`, 'm').exec(readFileSync(`${FOLDER}/go.mod`, 'utf8'))
  if (found === null) throw new Error(`Cannot find ${module} in ${FOLDER}go.mod`)
  return found[1]!
}
