import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Lab } from '../../lab/index.ts'
import { envOf, type Release, type Rendered, render } from '../deploy/chart.ts'
import { sluiceCommand } from '../helpers/agent.ts'
import { eventually } from '../helpers/eventually.ts'
import { portsOf, readFlowLog } from '../helpers/flow-log.ts'
import { missingTools } from '../helpers/kubernetes-tools.ts'
import { type Container, layOutImage, PodSandbox } from '../helpers/pod-sandbox.ts'
import { describeKernel } from '../helpers/privileged.ts'
import { Traffic } from '../helpers/traffic.ts'

/** CAP_NET_ADMIN, CAP_PERFMON and CAP_BPF, as /proc shows them. */
const THREE = ((1n << 12n) | (1n << 38n) | (1n << 39n)).toString(16).padStart(16, '0')

/** Root of the image's files, laid out once for both pods. */
let image: string

describe.skipIf(missingTools !== undefined)(`the chart's pod in the image's layout`, () => {
  beforeAll(() => {
    image = mkdtempSync(join(tmpdir(), 'sluice-image-'))
    layOutImage(image, dirname(dirname(sluiceCommand()[1]!)))
  })
  afterAll(() => rmSync(image, { recursive: true, force: true }))

  describeKernel('as root with three capabilities', () => deployed(0))
  describeKernel('as the user 10001, whose capabilities come from the file it runs', () => deployed(10001))
})

function deployed(runAsUser: number): void {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-deployed-'))
  const pins = `/sys/fs/bpf/sluice-deployed-${runAsUser}-${process.pid}`
  let lab: Lab
  let pod: { readonly initContainers?: readonly Container[]; readonly containers: readonly Container[] }
  let agent: ChildProcess
  let said = ''
  let sandbox: PodSandbox

  beforeAll(async () => {
    lab = await Lab.up({
      pods: [
        { namespace: 'shop', name: 'echo', run: [{ kind: 'udp-echo', port: 7000 }] },
        { namespace: 'shop', name: 'client' },
      ],
    })
    const release = await render({ runAsUser, config: { kubernetes: { enabled: false }, log: { enabled: true } } })
    const { spec } = release.pods[0]!
    pod = spec
    sandbox = new PodSandbox({ image, volumes: volumes(release, spec), netns: lab.node().netnsPath })
    for (const container of pod.initContainers ?? []) {
      const child = sandbox.start(container, {})
      child.stderr!.setEncoding('utf8').on('data', heard)
      const [code] = await once(child, 'close')
      if (code !== 0) throw new Error(`The init container ended with ${code}: ${said}`)
    }
    agent = start()
    await ready()
  })

  afterAll(async () => {
    agent?.kill('SIGKILL')
    await lab?.down()
    rmSync(pins, { recursive: true, force: true })
    rmSync(directory, { recursive: true, force: true })
  })

  function start(): ChildProcess {
    const child = sandbox.start(pod.containers[0]!, { ...envOf(pod.containers[0]), NODE_NAME: 'node-1' })
    child.stderr!.setEncoding('utf8').on('data', heard)
    return child
  }

  function heard(text: string): void {
    said += text
  }

  /** @throws Error with what the agent said, when it has ended or is not ready in time */
  async function ready(): Promise<void> {
    const deadline = performance.now() + 20_000
    for (;;) {
      const { status, text } = await probe('readinessProbe')
      if (status === 200) return
      if (agent.exitCode !== null || performance.now() > deadline) {
        throw new Error(`The agent is not ready, exit code ${agent.exitCode}: ${text}\n${said}`)
      }
    }
  }

  /** Directories for the volumes of the pod, made as the kubelet does. */
  function volumes(release: Release, spec: Rendered): Map<string, string> {
    return new Map(
      spec.volumes.map(({ name, configMap }: Rendered) => {
        const path = name === 'pins' ? pins : join(directory, name)
        mkdirSync(path, { recursive: true })
        for (const [file, text] of Object.entries(configMap ? release.get('ConfigMap', configMap.name).data : {})) {
          writeFileSync(join(path, file), text as string)
        }
        return [name, path]
      }),
    )
  }

  /** As the kubelet asks, from the node's network. */
  async function probe(name: 'readinessProbe' | 'livenessProbe'): Promise<{ status: number; text: string }> {
    const { host, port, path } = (pod.containers[0] as Rendered)[name].httpGet
    return await get(`http://${host}:${port}${path}`)
  }

  async function get(url: string): Promise<{ status: number; text: string }> {
    const script = `fetch(${JSON.stringify(url)}).then(async (r) => console.log(r.status + '\\n' + (await r.text())))`
    const { stdout } = await lab.node().exec(process.execPath, ['-e', `${script}.catch(() => console.log('0'))`])
    const [status, ...lines] = stdout.split('\n')
    return { status: Number(status), text: lines.join('\n') }
  }

  test('is ready and alive, as the probes ask', async () => {
    expect(await probe('readinessProbe')).toMatchObject({ status: 200 })
    expect(await probe('livenessProbe')).toMatchObject({ status: 200 })
  })

  test('holds exactly the three capabilities, as its user', () => {
    const status = readFileSync(`/proc/${agent.pid}/status`, 'utf8')
    const field = (name: string) => new RegExp(`^${name}:\\s*(.+)$`, 'm').exec(status)?.[1]
    expect([field('CapEff'), field('CapPrm'), field('CapBnd')]).toEqual([THREE, THREE, THREE])
    expect(field('Uid')?.split(/\s+/)).toEqual(Array(4).fill(String(runAsUser)))
    expect(field('NoNewPrivs')).toBe(runAsUser === 0 ? '1' : '0')
  })

  test('sees flows: in the log on the node, in metrics, and through `kubectl exec`', async () => {
    const config = { to: lab.pod('shop/echo').ips[0]!, port: 7000, perSecond: 100, bytes: 10, sockets: 1, count: 1 }
    await (await Traffic.start(lab.pod('shop/client'), config)).ended()
    await eventually('question and answer are in the log', () => {
      const { flows } = readFlowLog(join(directory, 'log', 'events.log'))
      return flows.filter((flow) => flow.l4?.['UDP'] && portsOf(flow).includes(7000)).length >= 4
    })
    expect((await get('http://127.0.0.1:9965/metrics')).text).toMatch(/^hubble_flows_processed_total\{/m)
    const seen = await sandbox.exec(agent, pod.containers[0]!, ['sluice', 'observe', '--last', '100', '--port', '7000'])
    expect(seen).toContain(':7000')
    expect(await sandbox.exec(agent, pod.containers[0]!, ['sluice', 'ledger'])).not.toBe('')
  })

  test('stops in time and starts again on its pins', async () => {
    const ended = once(agent, 'exit')
    agent.kill('SIGTERM')
    expect((await ended)[0]).toBe(0)
    expect(readdirSync(join(pins, 'default'))).toContain('flows')
    agent = start()
    await ready()
    expect(said).toContain('took over the maps of a former agent')
  })

  test('leaves nothing behind once the chart was told to purge', async () => {
    const links = await sandbox.exec(agent, pod.containers[0]!, ['ls', '/bpffs/default/links'])
    expect(links.trim().split('\n').length).toBeGreaterThan(1)
    const ended = once(agent, 'exit')
    agent.kill('SIGTERM')
    await ended
    const release = await render({ runAsUser, purge: true, config: { kubernetes: { enabled: false } } })
    const container: Container = release.agent
    agent = sandbox.start(container, envOf(container))
    agent.stdout!.resume()
    agent.stderr!.setEncoding('utf8').on('data', heard)
    await eventually('the pins are gone', () => !existsSync(join(pins, 'default')))
    const check = (container as Rendered).readinessProbe.exec.command as string[]
    expect(await sandbox.exec(agent, container, check)).toBe('')
  })
}
