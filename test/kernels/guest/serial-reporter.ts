import { openSync, writeSync } from 'node:fs'
import { relative } from 'node:path'
import type { Reporter, TestCase, TestModule } from 'vitest/node'

/** A line of the second serial port, as host/summary.mjs reads it. */
export type ResultLine =
  | { readonly test: string; readonly state: 'passed' | 'failed' | 'skipped'; readonly why?: string }
  | { readonly error: string }
  | { readonly end: true; readonly tests: number }

/**
 * Tells each test as it ends, for whoever waits, and as a line of JSON by the second serial port: a guest that hangs or
 * dies has then told what it did.
 */
export default class SerialReporter implements Reporter {
  readonly #port = openSync('/dev/ttyS1', 'w')
  #tests = 0

  onTestModuleStart(module: TestModule): void {
    console.log(`${seconds()} ${nameOf(module)}`)
  }

  onTestCaseResult(testCase: TestCase): void {
    const { state, errors } = testCase.result()
    if (state === 'pending') return
    const test = `${nameOf(testCase.module)} > ${testCase.fullName}`
    const ms = Math.round(testCase.diagnostic()?.duration ?? 0)
    const why = errors?.map((error) => error.stack ?? error.message).join('\n')
    console.log(`${seconds()}   ${state} ${testCase.fullName} (${ms} ms)${why ? `\n${why}` : ''}`)
    this.#tests++
    this.#tell({ test, state, ...(why ? { why } : {}) })
  }

  onTestModuleEnd(module: TestModule): void {
    for (const error of module.errors()) this.#error(`${nameOf(module)}: ${error.stack ?? error.message}`)
    for (const suite of module.children.allSuites()) {
      for (const error of suite.errors())
        this.#error(`${nameOf(module)} > ${suite.fullName}: ${error.stack ?? error.message}`)
    }
  }

  onTestRunEnd(_modules: readonly TestModule[], unhandled: readonly { stack?: string; message: string }[]): void {
    for (const error of unhandled) this.#error(error.stack ?? error.message)
    this.#tell({ end: true, tests: this.#tests })
  }

  #error(error: string): void {
    console.log(error)
    this.#tell({ error })
  }

  #tell(line: ResultLine): void {
    writeSync(this.#port, `${JSON.stringify(line)}\n`)
  }
}

function nameOf(module: TestModule): string {
  return relative(process.cwd(), module.moduleId)
}

function seconds(): string {
  return `[${process.uptime().toFixed(0).padStart(4)} s]`
}
