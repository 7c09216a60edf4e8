import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { packagePath } from '../../lab/index.ts'
import { describeKernel } from '../helpers/privileged.ts'
import { run } from '../helpers/run-cli.ts'

/** A demo in a process of its own, as a user runs it. */
class Demo {
  readonly child: ChildProcess
  stdout = ''
  stderr = ''
  readonly #closed: Promise<unknown>

  constructor(directory: string, flags: readonly string[]) {
    const script = join(directory, 'sluice.ts')
    writeFileSync(script, `import { main } from ${JSON.stringify(packagePath('cli/main.ts'))}\nvoid main()\n`)
    this.child = spawn(process.execPath, ['--import', 'tsx', script, 'demo', ...flags], {
      cwd: packagePath('.'),
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.child.stdout!.on('data', (text) => {
      this.stdout += text
    })
    this.child.stderr!.on('data', (text) => {
      this.stderr += text
    })
    this.#closed = once(this.child, 'close')
  }

  get id(): string {
    return `demo-${this.child.pid}`
  }

  /** Waits for what it prints. */
  async prints(pattern: RegExp, ms = 30_000): Promise<RegExpExecArray> {
    for (const end = Date.now() + ms; Date.now() < end; await sleep(50)) {
      const match = pattern.exec(this.stdout)
      if (match) return match
      if (this.child.exitCode !== null) break
    }
    throw new Error(`The demo did not print ${pattern}:\n${this.stdout.slice(-2000)}\n${this.stderr.slice(-2000)}`)
  }

  async end(signal?: NodeJS.Signals): Promise<number | null> {
    if (signal) this.child.kill(signal)
    await this.#closed
    return this.child.exitCode
  }
}

/** What a demo has on this machine. */
function traces(id: string): Record<string, readonly string[]> {
  const list = (path: string) => (existsSync(path) ? readdirSync(path) : [])
  return {
    namespaces: list('/run/netns').filter((name) => name.startsWith(`sluice-${id}.`)),
    labs: list('/run/sluice-lab').filter((name) => name === id),
    pins: list('/sys/fs/bpf/sluice').filter((name) => name === id),
    mounts: readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .filter((line) => line.includes(id)),
    processes: list('/proc').filter((pid) => /^\d+$/.test(pid) && environment(pid).includes(`SLUICE_LAB=${id}\0`)),
  }
}

function environment(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'latin1')
  } catch {
    return ''
  }
}

const NOTHING = { namespaces: [], labs: [], pins: [], mounts: [], processes: [] }

describeKernel('sluice demo', () => {
  let directory: string
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'demo-test-'))
  })
  afterAll(() => rmSync(directory, { recursive: true }))

  test('shows flows of all kinds, answers gRPC and metrics, and leaves nothing but the log on Ctrl-C', async () => {
    const logPath = join(directory, 'events.log')
    const demo = new Demo(directory, ['--log', logPath])
    const [, metrics, grpc] = await demo.prints(/metrics +(http:\S+)[\s\S]*?\n +gRPC +(\S+)/)
    await demo.prints(/TCP Flags: SYN\)/)
    await demo.prints(/dns-response/)
    await demo.prints(/http-response FORWARDED \(HTTP\/1\.1 200/)
    await demo.prints(/DROPPED/)
    const running = traces(demo.id)
    expect(running['namespaces']!.length).toBeGreaterThanOrEqual(14)
    expect(running['processes']!.length).toBeGreaterThanOrEqual(12)

    // A quick machine is here before there were twenty flows to the frontend.
    let observed = await run(['observe', '--server', grpc!, '--to-pod', 'shop/frontend', '--port', '8080'])
    for (let i = 0; i < 100 && observed.stdout.trim().split('\n').length < 20; i++) {
      await new Promise((resolve) => setTimeout(resolve, 200))
      observed = await run(['observe', '--server', grpc!, '--to-pod', 'shop/frontend', '--port', '8080'])
    }
    expect(observed.stderr).toBe('')
    expect(observed.stdout.trim().split('\n').length).toBe(20)
    expect(observed.stdout).toMatch(/load\/shopper-\S+ \(ID:\d+\) (->|<-) shop\/frontend-\S+:8080 \(ID:\d+\)/)
    expect((await run(['status', '--server', grpc!])).stdout).toMatch(/^Healthcheck \(via \S+\): Ok\n/)
    expect((await run(['list', 'nodes', '--server', grpc!])).stdout).toMatch(/demo\/node-1 +Connected/)
    expect(await (await fetch(metrics!)).text()).toMatch(/^hubble_flows_processed_total\{/m)

    // As the screen has it, and without the dashes.
    for (const command of [
      ['--', 'sh', '-c', 'exit 7'],
      ['sh', '-c', 'exit 7'],
    ]) {
      expect((await run(['lab', 'exec', demo.id, 'ops/prober-0', ...command])).code).toBe(7)
    }

    const [, filters] = /filters +(\S+)/.exec(demo.stdout)!
    const list = await run(['filters', 'list', '--server', grpc!])
    expect(list.stdout).toMatch(/ContainerNetworkLog\/everything +directory +CONFIGURED/)
    expect(list.stdout).not.toMatch(/warning/)
    // A file that is dropped there is in the scrape two seconds later: metrics that it does not name are gone.
    const only = readFileSync(packagePath('examples/filters/drops-alone.yaml'), 'utf8')
    writeFileSync(join(filters!, 'drops-alone.yaml'), only.replace('spec:', 'spec:\n  unlisted: drop'))
    const end = Date.now() + 2000
    let scrape = ''
    do scrape = await (await fetch(metrics!)).text()
    while (/^hubble_flows_processed_total\{/m.test(scrape) && Date.now() < end)
    expect(scrape).not.toMatch(/^hubble_flows_processed_total\{/m)
    expect(scrape).toMatch(/^hubble_drop_total\{/m)

    expect(await demo.end('SIGINT')).toBe(0)
    expect(existsSync(filters!)).toBe(false)
    expect(demo.stdout).toMatch(/flows were seen\.[\s\S]*The ledger closes\.[\s\S]*The log stays: /)
    expect(demo.stderr).toBe('')
    expect(traces(demo.id)).toEqual(NOTHING)
    await expect(fetch(metrics!)).rejects.toThrow()

    expect(statSync(logPath).size).toBeGreaterThan(10_000)
    const replayed = await run(['observe', '--input-file', logPath, '--verdict', 'DROPPED', '-o', 'wide'])
    expect(replayed.stderr).toBe('')
    expect(replayed.stdout).toMatch(/NO_SOCKET|NETFILTER_DROP|QDISC_DROP|SOCKET_RCVBUFF/)
  })

  test('ends by itself with --for; says so when its ports are taken; a killed one is swept by the next', async () => {
    const killed = new Demo(directory, ['--quiet', '--log', join(directory, 'killed.log')])
    const [, grpc] = await killed.prints(/gRPC +127\.0\.0\.1:(\d+)/)
    const second = new Demo(directory, ['--quiet', '--for', '1s', '--log', join(directory, 'second.log')])
    const [, moved] = await second.prints(/port \d+ is taken: gRPC is on (\d+)/)
    expect(moved).not.toBe(grpc)
    expect(await second.end()).toBe(0)
    expect(traces(second.id)).toEqual(NOTHING)
    expect(traces(killed.id)['namespaces']!.length).toBeGreaterThanOrEqual(14)

    await killed.end('SIGKILL')
    const third = new Demo(directory, ['--quiet', '--for', '1s', '--log', join(directory, 'third.log')])
    expect(await third.end()).toBe(0)
    expect(traces(killed.id)).toEqual(NOTHING)
    expect(traces(third.id)).toEqual(NOTHING)
  })
})

describe('sluice replay', () => {
  test('shows the flows of a file and closes its ledger, without eBPF', async () => {
    const file = packagePath('cli/fixtures/flows.jsonl')
    const { code, stdout, stderr } = await run(['replay', file, '--speed', 'max'])
    expect(stdout).toMatch(/shop\/cart-0:40112 \(ID:20001\) -> shop\/db-0:8080 \(ID:20002\) to-stack FORWARDED/)
    expect(stderr).toMatch(/flows of \d+ lines[\s\S]*The ledger closes\./)
    expect(code).toBe(0)
  })

  test('ends with 1 and names the file when it has no flow', async () => {
    const { code, stderr } = await run(['replay', '/dev/null', '--speed', 'max'])
    expect(stderr).toMatch(/Cannot replay "\/dev\/null": no flow/)
    expect(code).toBe(1)
  })
})
