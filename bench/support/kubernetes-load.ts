import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface, type Interface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { SourceReport } from './kubernetes-source.ts'
import { sleep } from './processes.ts'

export interface KubernetesLoad {
  /** The first list of everything. */
  readonly first: SourceReport
  /** While pods change. */
  readonly changing: SourceReport
  /** While everything is listed again. */
  readonly relist: SourceReport
  /** Changes of pods that were made meanwhile. */
  readonly changes: number
}

/** A cluster in one process, the agent's names from it in another: what they cost, in three parts. */
export async function kubernetesLoad(pods: number, changesPerSecond: number, seconds: number): Promise<KubernetesLoad> {
  const double = new Talker('test/helpers/api-double-process.ts', JSON.stringify({ pods, changesPerSecond }))
  let source: Talker | undefined
  try {
    source = new Talker('bench/support/kubernetes-source.ts', await double.line())
    const ready = await source.line()
    if (ready !== 'ready') throw new Error(`The source said "${ready}"`)
    const first = await measure(source)
    double.say('start')
    await sleep(1000)
    await measure(source)
    await sleep(seconds * 1000)
    const changing = await measure(source)
    double.say('stop')
    const changes = Number((await double.line()).replace('changes ', ''))
    await measure(source)
    double.say('relist')
    return { first, changing, relist: await relisted(source, changing.lists), changes }
  } finally {
    source?.stop()
    double.stop()
  }
}

async function measure(source: Talker): Promise<SourceReport> {
  source.say('measure')
  return JSON.parse(await source.line()) as SourceReport
}

/** The costs until every resource has been listed once more. */
async function relisted(source: Talker, listsBefore: number): Promise<SourceReport> {
  const deadline = performance.now() + 60_000
  let worst = 0
  for (;;) {
    await sleep(200)
    const report = await measure(source)
    worst = Math.max(worst, report.worstTurnMs)
    if (report.synced && report.lists >= listsBefore + 7) return { ...report, worstTurnMs: worst }
    if (performance.now() > deadline) throw new Error('The lists after the compaction did not end within 60 s')
  }
}

/** A process that is told lines and answers with lines. */
class Talker {
  readonly #child: ChildProcess
  readonly #lines: Interface
  readonly #iterator: AsyncIterator<string>

  constructor(script: string, argument: string) {
    const path = fileURLToPath(new URL(`../../${script}`, import.meta.url))
    const options = ['--expose-gc', '--import', 'tsx', path, argument]
    this.#child = spawn(process.execPath, options, { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#lines = createInterface({ input: this.#child.stdout! })
    this.#iterator = this.#lines[Symbol.asyncIterator]()
  }

  say(line: string): void {
    this.#child.stdin!.write(`${line}\n`)
  }

  async line(): Promise<string> {
    const { value, done } = await this.#iterator.next()
    if (done === true) throw new Error('The process ended before it answered')
    return value as string
  }

  stop(): void {
    this.#child.kill('SIGKILL')
    this.#lines.close()
  }
}
