import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { Lab } from '../../lab/index.ts'
import { TestAgent } from '../helpers/agent.ts'
import { until } from '../helpers/api-server.ts'
import { missingPrivileges } from '../helpers/privileged.ts'
import { build, Hubble, missing as missingGo } from './hubble-cli.ts'

const missing = missingGo ?? missingPrivileges()
const DEMO = new URL('../../lab/demo.yaml', import.meta.url).pathname

interface Line {
  readonly flow: { readonly uuid: string; readonly extensions?: unknown; readonly [field: string]: unknown }
  readonly node_name: string
  readonly time: string
}

describe.skipIf(missing)(`hubble beside a real agent${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab
  let agent: TestAgent
  let hubble: Hubble

  beforeAll(async () => {
    const binary = build('hubble-1.19')
    lab = await Lab.up(DEMO)
    agent = await TestAgent.start({
      name: 'hubble',
      settings: { 'node.netns': lab.node().netnsPath, 'metadata.file': lab.metadataPath },
    })
    hubble = new Hubble(binary, ['--server', agent.grpc])
    // Every workload of the demo has had its turn: web, names, pings, refusals and drops.
    for (let tries = 0; tries < 60; tries++) {
      const lines = await hubble.lines('observe', '--all', '--type', 'l7', '--type', 'drop')
      if (lines.length > 50) return
      await new Promise((resolve) => setTimeout(resolve, 500))
    }
    throw new Error('The workloads of the demo made no 50 L7 records and drops within 30 s')
  })

  afterAll(async () => {
    await agent?.[Symbol.asyncDispose]()
    await lab?.down()
  })

  test('says that the agent is well', async () => {
    expect((await hubble.lines('status')).join('\n')).toMatch(
      /Ok\nCurrent\/Max Flows: [\d,]+\/1,000,000 \(0\.\d+%\)\nFlows\/s: [\d.]+/,
    )
    expect((await hubble.lines('list', 'nodes'))[1]).toMatch(/^node-1 +Connected/)
    const namespaces = (await hubble.lines('list', 'namespaces')).slice(1)
    expect(namespaces.length).toBeGreaterThanOrEqual(4)
  })

  test('prints lines with pods, directions, verdicts and summaries', async () => {
    const lines = await hubble.lines('observe', '--last', '200')
    expect(lines.length).toBeGreaterThan(100)
    const form = /^\w{3} +\d+ [\d:.]+: \S+ (\(\S+\)) (->|<-|<>) \S+ (\(\S+\)) .+ (FORWARDED|DROPPED) \(.+\)$/
    expect(lines.filter((line) => !form.test(line))).toEqual([])
    expect(lines.filter((line) => /\(unknown\)/.test(line))).toEqual([])
    for (const output of ['dict', 'table', 'json']) {
      expect((await hubble.lines('observe', '--last', '5', '-o', output)).length).toBeGreaterThanOrEqual(5)
    }
  })

  test.each([
    [['--protocol', 'dns'], /dns-(request|response)/],
    [['--protocol', 'http'], /http-(request|response) .*HTTP\/1\.1/],
    [['--verdict', 'DROPPED'], /DROPPED/],
    [['--protocol', 'icmp'], /ICMPv[46]/],
    [['-6'], /\(/],
    [['--tcp-flags', 'RST'], /RST/],
    [['--to-identity', 'world'], /\(world\)/],
  ])('finds flows of real traffic with %j, and nothing else', async (flags, form) => {
    const lines = await hubble.lines('observe', '--last', '200', ...flags)
    expect(lines.length).toBeGreaterThan(0)
    expect(lines.filter((line) => !form.test(line))).toEqual([])
  })

  test('shows in JSON exactly what the log has, but for what is in extensions', async () => {
    const shown = (await hubble.lines('observe', '--all', '-o', 'json')).map((line) => JSON.parse(line) as Line)
    await expect.poll(() => logged(agent.logPath).size, { timeout: 5000 }).toBeGreaterThan(0)
    const log = logged(agent.logPath)
    const both = shown.filter(({ flow }) => log.has(flow.uuid))
    // The newest flows may be on their way to the disk.
    expect(both.length).toBeGreaterThan(shown.length * 0.5)
    const different = both.filter(
      ({ flow }) => JSON.stringify(sorted(flow)) !== JSON.stringify(sorted(log.get(flow.uuid)!.flow)),
    )
    expect(different.slice(0, 3).map(({ flow }) => [flow, log.get(flow.uuid)!.flow])).toEqual([])
  })

  test('reads the log of the agent', async () => {
    const offline = new Hubble(hubble.binary, [])
    const all = await offline.lines('observe', '--input-file', agent.logPath, '--all')
    expect(all.length).toBeGreaterThan(100)
    const drops = await offline.lines('observe', '--input-file', agent.logPath, '--verdict', 'DROPPED', '--all')
    expect(drops.length).toBeGreaterThan(0)
  })

  test('follows real traffic, and the agent says how many it sent', async () => {
    const run = hubble.start('observe', '--follow')
    onTestFinished(() => void run.stop())
    await until('flows scroll', () => run.lines.length > 50)
    expect(await run.stop()).toBe(0)
    const metrics = await agent.metrics()
    expect(metrics['sluice_api_flows_sent_total']).toBeGreaterThan(50)
  })

  test('tells of the agent’s start and its pods', async () => {
    const lines = await hubble.lines('observe', 'agent-events', '--all')
    expect(lines.some((line) => /AGENT_STARTED/.test(line))).toBe(true)
    expect(
      lines.filter((line) => /ENDPOINT_CREATED \(id: [1-9]\d*, namespace: \S+, pod name: \S+\)/.test(line)).length,
    ).toBeGreaterThanOrEqual(12)
  })
})

/** Lines of the log by uuid. A last line that is being written is left out. */
function logged(path: string): Map<string, Line> {
  const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1)
  const all = lines.map((line) => JSON.parse(line) as Line).filter(({ flow }) => flow !== undefined)
  return new Map(all.map((line) => [line.flow.uuid, line]))
}

/** A flow without extensions, its keys in one order at every depth. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).filter(([key]) => key !== 'extensions')
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, inner]) => [key, sorted(inner)]))
}
