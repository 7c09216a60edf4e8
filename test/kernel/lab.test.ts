import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { parse } from 'yaml'
import { DEMO_LAB, knownLabs, Lab, packagePath, sweepLabs } from '../../lab/index.ts'
import { describeKernel } from '../helpers/privileged.ts'

const namespaces = (id: string) => readdirSync('/run/netns').filter((name) => name.startsWith(`sluice-${id}.`))

/** Asks again until it holds. */
async function eventually(what: string, holds: () => boolean | Promise<boolean>, ms = 5000): Promise<void> {
  for (const end = Date.now() + ms; Date.now() < end; await sleep(50)) if (await holds()) return
  throw new Error(`Not within ${ms} ms: ${what}`)
}

describeKernel('the demo lab', () => {
  let lab: Lab
  beforeAll(async () => {
    lab = await Lab.up(packagePath(DEMO_LAB))
  })
  afterAll(() => lab?.down())

  const ping = async (from: string, to: string) =>
    (await lab.pod(from).exec('ping', ['-n', '-c1', '-W2', to])).code === 0

  test('has at least 12 pods in 4 namespaces, each with a link and a process', async () => {
    expect(lab.pods.length).toBeGreaterThanOrEqual(12)
    expect(new Set(lab.pods.map((pod) => pod.namespace)).size).toBeGreaterThanOrEqual(4)
    for (const pod of lab.pods) {
      const { stdout } = await lab.node().exec('ip', ['-json', 'link', 'show', 'dev', pod.device])
      expect(JSON.parse(stdout)[0].ifindex).toBe(pod.ifindex)
    }
  })

  test('pods reach each other, their node and the world, over IPv4 and IPv6, and are reached', async () => {
    const [stray, prober] = [lab.pod('ops/stray-0'), lab.pod('ops/prober-0')]
    for (const target of [...stray.ips, ...lab.node().ips, '203.0.113.10', '2001:db8:113::10', '10.96.0.10']) {
      expect([target, await ping('ops/prober-0', target)]).toEqual([target, true])
    }
    const { code } = await lab.world.exec('ping', ['-n', '-c1', '-W2', prober.ips[0]])
    expect(code).toBe(0)
  })

  test('the shop answers: every service behind the frontend worked', async () => {
    const { ips } = lab.pod('shop/frontend-6d5c9b7f4-k2x8p')
    const script = `fetch('http://${ips[0]}:8080/checkout').then(async (r) => console.log(r.status, (await r.text()).length))`
    await eventually('frontend answers', async () => {
      const { stdout } = await lab.pod('ops/prober-0').exec(process.execPath, ['-e', script])
      // One payment in seven fails on purpose: 502 from the frontend.
      return /^200 120$/.test(stdout.trim())
    })
  })

  test('names resolve through the DNS pod, unknown ones do not', async () => {
    const script = `const r = new (require('dns').promises.Resolver)(); r.setServers(['10.96.0.10'])
        Promise.all([r.resolve4('catalog.shop.svc.cluster.local'), r.resolve6('cart.shop.svc.cluster.local'),
          r.resolve4('nobody.shop.svc.cluster.local').catch((e) => e.code)]).then((a) => console.log(JSON.stringify(a)))`
    const { stdout } = await lab.pod('ops/prober-0').exec(process.execPath, ['-e', script])
    expect(JSON.parse(stdout)).toEqual([['10.96.4.20'], [lab.pod('shop/cart-0').ips[1]], 'ENOTFOUND'])
  })

  test('packets are refused, lost and limited as described', async () => {
    const node = lab.node()
    const routes = (await node.exec('ip', ['route'])).stdout
    expect(routes).toMatch(/blackhole 10\.99\.0\.0\/24/)
    expect(routes).toMatch(/prohibit 10\.98\.0\.0\/24/)
    expect(await ping('ops/prober-0', '10.98.0.1')).toBe(false)
    expect((await node.exec('tc', ['qdisc', 'show'])).stdout).toMatch(/qdisc tbf/)
    const drops = async () => (await node.exec('nft', ['list', 'ruleset'])).stdout
    if (lab.warnings.length === 0)
      await eventually('the firewall drops', async () => /counter packets [1-9]/.test(await drops()))
  })

  test('writes what a cluster would tell', () => {
    const metadata = parse(readFileSync(lab.metadataPath, 'utf8'))
    expect(Object.keys(metadata)).toEqual(['nodes', 'pods', 'services', 'cidrs'])
    expect(metadata.pods.length).toBe(lab.pods.length)
    const cart = lab.pod('shop/cart-0')
    expect(metadata.pods.find((pod: { name: string }) => pod.name === 'cart-0')).toMatchObject({
      namespace: 'shop',
      uid: cart.uid,
      ips: [...cart.ips],
      labels: { app: 'cart', tier: 'backend' },
      namespaceLabels: { 'kubernetes.io/metadata.name': 'shop', team: 'storefront' },
      workload: { name: 'cart', kind: 'StatefulSet' },
      nodeName: 'node-1',
    })
    expect(metadata.services).toContainEqual({
      namespace: 'shop',
      name: 'catalog',
      ips: ['10.96.4.20'],
      ports: [{ port: 8080, protocol: 'TCP' }],
    })
  })

  test('is known to the machine as alive, and not swept', async () => {
    expect(knownLabs().find((each) => each.id === lab.id)).toMatchObject({ alive: true, pid: process.pid })
    expect(await sweepLabs()).not.toContain(lab.id)
    expect(namespaces(lab.id).length).toBe(lab.pods.length + 2)
  })

  test('its workloads take less than a fifth of a core', async () => {
    const ticks = () =>
      lab.pods.reduce((sum, pod) => sum + processTicks(pod.netnsPath), processTicks(lab.world.netnsPath))
    const before = ticks()
    await sleep(4000)
    // 100 ticks are a second of a core.
    expect((ticks() - before) / 4).toBeLessThan(20)
  })

  test('leaves nothing behind when it goes down', async () => {
    const { id, directory } = lab
    await lab.down()
    expect(namespaces(id)).toEqual([])
    expect(existsSync(directory)).toBe(false)
    expect(workloadsOf(id)).toEqual([])
  })
}, ['CAP_SYS_ADMIN', 'CAP_NET_ADMIN'])

describeKernel('Lab', () => {
  test('joins pods of several nodes through the world', async () => {
    await using lab = await Lab.up({
      nodes: [{ name: 'a' }, { name: 'b' }],
      pods: [
        { namespace: 'x', name: 'p', node: 'a' },
        { namespace: 'x', name: 'q', node: 'b' },
      ],
      services: [{ namespace: 'x', name: 's', ip: '10.96.0.1', pods: ['x/q'] }],
    })
    for (const target of [...lab.pod('x/q').ips, '10.96.0.1']) {
      const { code, stdout } = await lab.pod('x/p').exec('ping', ['-n', '-c1', '-W2', target])
      // Two nodes and the world in between: three hops.
      expect([target, code, /ttl=61/.test(stdout)]).toEqual([target, 0, true])
    }
  })

  test('makes 12 pods in less than 2 s', async () => {
    const start = performance.now()
    await using lab = await Lab.up({ pods: Array.from({ length: 12 }, (_, i) => ({ namespace: 'x', name: `p-${i}` })) })
    expect(lab.pods.length).toBe(12)
    expect(performance.now() - start).toBeLessThan(2000)
  })

  test('pods come and go: addresses, links and metadata follow', async () => {
    await using lab = await Lab.up({ pods: [{ namespace: 'x', name: 'first' }] })
    const more = await lab.addPods(Array.from({ length: 20 }, (_, i) => ({ namespace: 'churn', name: `p-${i}` })))
    expect((await lab.pod('x/first').exec('ping', ['-n', '-c1', '-W2', more[19]!.ips[0]])).code).toBe(0)
    for (const pod of more) await lab.removePod(pod.ref)
    expect(lab.pods.length).toBe(1)
    expect(namespaces(lab.id).length).toBe(3)
    const devices = JSON.parse((await lab.node().exec('ip', ['-json', 'link'])).stdout) as { ifname: string }[]
    expect(devices.filter(({ ifname }) => ifname.startsWith('lxc')).length).toBe(1)
    expect(parse(readFileSync(lab.metadataPath, 'utf8')).pods.length).toBe(1)
  })

  test('leaves nothing behind when it cannot be built', async () => {
    const id = `broken-${process.pid}`
    const pod = { namespace: 'x', name: 'p' }
    const twice = {
      routes: [
        { kind: 'blackhole' as const, to: '10.99.0.0/24' },
        { kind: 'blackhole' as const, to: '10.99.0.0/24' },
      ],
    }
    await expect(Lab.up({ pods: [pod], ...twice }, { id })).rejects.toThrow(
      /Cannot set up the lab at "route add blackhole 10\.99/,
    )
    expect(namespaces(id)).toEqual([])
    expect(knownLabs().map((each) => each.id)).not.toContain(id)
  })

  test('refuses an id that is taken', async () => {
    await using lab = await Lab.up({})
    await expect(Lab.up({}, { id: lab.id })).rejects.toThrow(/Cannot name a lab/)
    expect(namespaces(lab.id).length).toBe(2)
  })

  test('a killed owner: workloads end, the next lab removes the rest, foreign namespaces stay', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'lab-owner-'))
    const foreign = `sluice-test-foreign-${process.pid}`
    onTestFinished(() => rmSync(directory, { recursive: true }))
    const owner = await startOwner(directory)
    const id = `killed-${process.pid}`
    expect(namespaces(id).length).toBe(3)
    await run('ip', ['netns', 'add', foreign])
    onTestFinished(async () => {
      await run('ip', ['netns', 'delete', foreign])
    })
    owner.kill('SIGKILL')
    await once(owner, 'close')
    await eventually('workloads end with their owner', () => workloadsOf(id).length === 0)
    expect(namespaces(id).length).toBe(3)
    await using lab = await Lab.up({})
    expect(namespaces(id)).toEqual([])
    expect(knownLabs().map((each) => each.id)).toContain(lab.id)
    expect(knownLabs().map((each) => each.id)).not.toContain(id)
    expect(readdirSync('/run/netns')).toContain(foreign)
  })

  test('run() ends with the lab, also when the process does not want to', async () => {
    let stubborn: ChildProcess
    {
      await using lab = await Lab.up({ pods: [{ namespace: 'x', name: 'p' }] })
      stubborn = lab.pod('x/p').run('sh', ['-c', 'trap "" TERM; while :; do sleep 1; done'])
      await once(stubborn, 'spawn')
    }
    expect(stubborn.exitCode ?? stubborn.signalCode).not.toBeNull()
  })
}, ['CAP_SYS_ADMIN', 'CAP_NET_ADMIN'])

/** Clock ticks that processes of a namespace have used. */
function processTicks(netnsPath: string): number {
  let ticks = 0
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      if (!readFileSync(`/proc/${pid}/cmdline`, 'latin1').startsWith('sluice-lab')) continue
      if (!sameNetns(pid, netnsPath)) continue
      const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      ticks += Number(fields[11]) + Number(fields[12])
    } catch {}
  }
  return ticks
}

function sameNetns(pid: string, netnsPath: string): boolean {
  return statSync(`/proc/${pid}/ns/net`).ino === statSync(netnsPath).ino
}

/** Workload processes of a lab that run. */
function workloadsOf(id: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/environ`, 'latin1').includes(`SLUICE_LAB=${id}\0`)
    } catch {
      return false
    }
  })
}

async function run(command: string, args: string[]): Promise<void> {
  const child = spawn(command, args, { stdio: 'ignore' })
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}`)
}

/** Another process that holds a lab with one working pod up. */
async function startOwner(directory: string): Promise<ChildProcess> {
  const script = join(directory, 'owner.ts')
  writeFileSync(
    script,
    `import { Lab } from ${JSON.stringify(packagePath('lab/index.ts'))}
     void Lab.up({ pods: [{ namespace: 'x', name: 'p', run: [{ kind: 'tcp-sink', port: 80 }] }] }, { id: 'killed-${process.pid}' })
       .then(() => console.log('up'), (error) => { console.error(error); process.exit(1) })
     setInterval(() => {}, 1000)`,
  )
  const child = spawn(process.execPath, ['--import', 'tsx', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout!, 'data')
  return child
}
