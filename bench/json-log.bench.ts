import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FlowHistory } from '../collector/history.ts'
import { FlowEncoder, JsonLogExporter, LineBuffer, resolveJsonLogOptions } from '../exporters/json-log/index.ts'
import { FLOW_SLOT, FLOW_STAMP } from '../model/layouts.gen.ts'
import { type FlowSpec, TestFlowStore } from '../test/helpers/flow-store.ts'
import { type Figure, figure, median } from './figure.ts'

const SAMPLE = 4096
const BLOCK = 10_000
const BLOCKS = 100
const PODS = 200

/** TCP, UDP and some drops between 200 pods that have five labels each, as the records of a few seconds. */
function traffic(): TestFlowStore {
  const store = new TestFlowStore(SAMPLE)
  const pods = Array.from({ length: PODS }, (_, i) =>
    store.addEndpoint({
      id: i + 1,
      identity: 20_000 + i,
      namespace: `team-${i % 20}`,
      podName: `web-${i}-7d4b9c6f5-x2k${i}`,
      labels: [
        'k8s:app=web',
        'k8s:io.cilium.k8s.policy.cluster=default',
        'k8s:io.cilium.k8s.policy.serviceaccount=web',
        `k8s:io.kubernetes.pod.namespace=team-${i % 20}`,
      ],
      workloads: [{ name: `web-${i}`, kind: 'Deployment' }],
    }),
  )
  const specs: FlowSpec[] = []
  for (let i = 0; i < SAMPLE; i++) {
    const from = i % PODS
    const to = (i * 7 + 3) % PODS
    const spec: FlowSpec = {
      source: pods[from]!,
      destination: pods[to]!,
      srcIp: `10.0.${from >> 6}.${from & 63}`,
      dstIp: `10.0.${to >> 6}.${to & 63}`,
      srcPort: 30_000 + i,
      dstPort: 80 + (i % 8),
      ifindex: 2 + from,
      l4Info: [2, 18, 16, 17][i % 4]!,
      isReply: i % 4 > 1,
      traceReason: 1 + (i % 3),
      packets: i % 100,
      bytes: 1000 + i,
      replyPackets: i % 90,
      replyBytes: 900 + i,
      rttUs: 200 + (i % 50),
      time: 1_790_000_000_000_000_000n + BigInt(i) * 20_011n,
    }
    if (i % 20 === 0) Object.assign(spec, { verdict: 2, dropReason: 3, dropLocation: 100 + (i % 7) })
    if (i % 5 === 0) Object.assign(spec, { protocol: 17, l4Info: 0, rttUs: 0 })
    specs.push(spec)
  }
  store.push(...specs)
  // As the collector does: a name is made once.
  const names = Array.from({ length: PODS + 2 }, (_, i) => `veth${i}`)
  store.context.interfaceName = (ifindex) => names[ifindex] ?? ''
  return store
}

function encoding(store: TestFlowStore): Figure[] {
  const encoder = new FlowEncoder()
  const view = store.createView()
  const out = new LineBuffer(262_144)
  let bytes = 0
  const round = () => {
    const before = process.cpuUsage()
    bytes = 0
    for (let sequence = 0, at = 0; sequence < SAMPLE; sequence++) {
      store.seek(view, sequence)
      const to = encoder.encode(view, out, at)
      bytes += to - at
      at = to > 190_000 ? 0 : to
    }
    const { user, system } = process.cpuUsage(before)
    return ((user + system) * 1000) / SAMPLE
  }
  for (let i = 0; i < 40; i++) round()
  const cost = median(Array.from({ length: 200 }, round))
  const length = Math.round(bytes / SAMPLE)
  return [
    figure(
      'json_log.encode',
      cost,
      'ns/line',
      '≤ 1000',
      `lines of ${length} bytes, 200 pods, CPU time, median of 200 rounds of 4,096`,
    ),
  ]
}

/** Records through the history into a file; what the kernel's ring costs before is measured with the collector. */
async function writing(store: TestFlowStore): Promise<Figure[]> {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-bench-log-'))
  const history = new FlowHistory(store.context, { capacity: 65_536, l7Bytes: 1_048_576 })
  const exporter = new JsonLogExporter(resolveJsonLogOptions({ path: join(directory, 'events.log'), maxBackups: 2 }))
  try {
    await exporter.start(new AbortController().signal)
    const view = store.createView()
    store.seek(view, 0)
    const records = new Uint32Array(view.bytesArray.buffer)
    const words = FLOW_SLOT.SIZE >> 2
    const stampWords = (FLOW_SLOT.stamp + FLOW_STAMP.unixNs) >> 2
    const costs: number[] = []
    const cpuBefore = process.cpuUsage()
    for (let block = 0; block < BLOCKS; block++) {
      const started = process.hrtime.bigint()
      const first = history.end
      for (let i = 0; i < BLOCK; i++) {
        const from = ((first + i) % SAMPLE) * words
        const low = records[from + stampWords]!
        const to = history.admit(records, from << 2, low, records[from + stampWords + 1]!)
        for (let word = 34; word < words; word++) history.arrays.u32[to + word] = records[from + word]!
      }
      history.publish()
      exporter.accept(history, first, history.end)
      await exporter.flush(60_000)
      costs.push(Number(process.hrtime.bigint() - started) / BLOCK)
    }
    const cpu = process.cpuUsage(cpuBefore)
    const { ledger } = exporter
    if (ledger.difference !== 0 || ledger.delivered !== BLOCK * BLOCKS) {
      throw new Error(`Ledger does not close: ${JSON.stringify(ledger)}`)
    }
    const conditions = `1,000,000 records in blocks of 10,000, rotation at 50 MiB, ${directory.split('/')[1]} of this machine`
    return [
      figure('json_log.history_to_file', median(costs), 'ns/flow', '≤ 2000', `median block, wall time; ${conditions}`),
      figure(
        'json_log.cpu',
        ((cpu.user + cpu.system) * 1000) / (BLOCK * BLOCKS),
        'ns/flow',
        '',
        `all threads; ${conditions}`,
      ),
      figure('json_log.rate', 1e9 / median(costs), 'flows/s', '', conditions),
    ]
  } finally {
    await exporter[Symbol.asyncDispose]()
    rmSync(directory, { recursive: true, force: true })
  }
}

/** JSON lines: encoding alone, and from the history to the file. */
export default async function run(): Promise<Figure[]> {
  const store = traffic()
  return [...encoding(store), ...(await writing(store))]
}
