/** Names from the Kubernetes API: memory, CPU and turns of the event loop of a process that holds only these. */
import { execFileSync } from 'node:child_process'
import { type Figure, figure, median } from './figure.ts'
import { kubernetesLoad } from './support/kubernetes-load.ts'
import { load } from './support/processes.ts'

const PODS = 10_000
const CHANGES = 500
const SECONDS = 20
const MB = 1e6

/** What loading the package for kubeconfig files takes, which an agent in a pod never does; bytes. */
function kubeconfigBytes(): number {
  const measure = (code: string) => {
    const script = `${code}; console.log(process.memoryUsage().rss)`
    return Number(execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' }))
  }
  const once = () => measure("await import('@kubernetes/client-node')") - measure('await 0')
  return median([once(), once(), once()])
}

export async function run(): Promise<Figure[]> {
  const { first, changing, relist, changes } = await kubernetesLoad(PODS, CHANGES, SECONDS)
  const rate = changes / (SECONDS + 1)
  if (rate < CHANGES * 0.9) throw new Error(`The double made ${rate.toFixed(0)} changes a second, wanted ${CHANGES}`)
  const pods = `${PODS.toLocaleString('en-GB')} pods of some 6 kB`
  const rest = `200 nodes, 400 services with slices, 400 ReplicaSets; the API server is another process, without TLS; ${load()}`
  const under = `${pods}, ${rate.toFixed(0)} changes a second for ${SECONDS} s, ${rest}`
  const worst = Math.max(first.worstTurnMs, changing.worstTurnMs)
  return [
    figure('kubernetes.rss_added', changing.addedBytes / MB, 'MB', '≤ 150', `${under}; tables of endpoints included`),
    figure('kubernetes.cpu', (changing.cpuSeconds / changing.seconds) * 100, '% of a core', '≤ 20', under),
    figure(
      'kubernetes.relist_turn',
      relist.worstTurnMs,
      'ms',
      '≤ 20',
      `longest turn while all is listed again; ${pods}`,
    ),
    figure('kubernetes.turn', worst, 'ms', '', 'longest turn of the first list and of the changes, code still cold'),
    figure('kubernetes.first_list_cpu', first.cpuSeconds, 's', '', `CPU time until everything is known; ${pods}`),
    figure(
      'kubernetes.kubeconfig_rss',
      kubeconfigBytes() / MB,
      'MB',
      '',
      'what a kubeconfig takes, and a pod does not load',
    ),
  ]
}
