/**
 * Writes what deploy/ holds twice for its users' sake: the schema of the chart's values, out of deploy/values.ts and the
 * agent's own schema, and the plain manifest, out of the chart with its defaults.
 * With --check it changes nothing and fails when one is stale.
 */
import { execFile } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { promisify } from 'node:util'
import { chartSchema } from '../deploy/values.ts'
import { kubernetesTool, missingTools } from '../test/helpers/kubernetes-tools.ts'

const run = promisify(execFile)
const NAMESPACE = 'sluice'

const HEADER = `# Sluice for a whole cluster, without Helm: kubectl apply --server-side -f deploy/crds -f deploy/manifest
# Made from the chart deploy/helm/sluice with its defaults by scripts/gen-deploy.ts: do not edit, run \`npm run gen\`.
---
apiVersion: v1
kind: Namespace
metadata:
  name: ${NAMESPACE}
  labels:
    # The agents are on the node's network and write to directories of the node.
    pod-security.kubernetes.io/enforce: privileged
    pod-security.kubernetes.io/audit: privileged
    pod-security.kubernetes.io/warn: privileged
`

/** What \`kubectl apply\` needs: namespace and CRDs before the rest, and no label that says Helm cares for it. */
async function manifest(): Promise<string> {
  const args = ['template', 'sluice', 'deploy/helm/sluice', '--namespace', NAMESPACE]
  const { stdout } = await run(await kubernetesTool('helm'), args, { maxBuffer: 1 << 26 })
  const lines = stdout
    .split('\n')
    .filter((line) => !/^ +(helm\.sh\/chart|app\.kubernetes\.io\/managed-by): /.test(line))
  return `${HEADER}${lines.join('\n')}`
}

const targets: [string, string][] = [
  ['deploy/helm/sluice/values.schema.json', `${JSON.stringify(chartSchema(), null, 2)}\n`],
]
const isCheck = process.argv.includes('--check')
let stale = 0

/** Writes it, or says that it is stale. */
async function put(path: string, text: string): Promise<void> {
  const before = await readFile(path, 'utf8').catch(() => '')
  if (before === text) return
  if (isCheck) {
    console.error(`${path} is stale: run \`npm run gen\``)
    stale = 1
    return
  }
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, text)
}

// The schema first: helm holds the values against it.
for (const [path, text] of targets) await put(path, text)
if (missingTools === undefined) await put('deploy/manifest/sluice.yaml', await manifest())
else console.error(`deploy/manifest/sluice.yaml is not made here: ${missingTools}`)
process.exitCode = stale
