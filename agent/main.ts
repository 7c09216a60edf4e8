import { errorText, SluiceError } from '../base/errors.ts'
import { KernelDatapath } from '../collector/kernel/index.ts'
import { loadConfig, type Overrides } from './config.ts'
import { datapathOptions } from './kernel-part.ts'
import { makeLogger } from './log.ts'
import { Agent, type FlowSource } from './wiring.ts'

export interface RunOptions {
  readonly configPath?: string
  /** Dotted keys to values: flags. */
  readonly overrides: Overrides
  /** Checks the configuration, loads and verifies the programs, attaches and pins nothing. */
  readonly dryRun: boolean
  /** Aborted: stop gracefully. */
  readonly signal: AbortSignal
  readonly source?: FlowSource
  /** Called once everything runs. */
  readonly onRunning?: (agent: Agent) => void
}

/**
 * Runs an agent until its signal is aborted.
 *
 * @returns exit code: 0 stopped as told, 1 could not start or broke
 * @throws SluiceError SLUICE_CONFIG_INVALID; everything later is told in the log and by the code
 */
export async function runAgent(options: RunOptions): Promise<number> {
  const { configPath: path, overrides, signal } = options
  const config = loadConfig({ overrides, ...(path === undefined ? {} : { path }) })
  const log = makeLogger(config.agentLog)
  try {
    if (options.dryRun) {
      const report = KernelDatapath.verify(datapathOptions(config, log))
      log.info(
        { missing_tracepoints: report.missingTracepoints },
        'dry run: configuration and programs are good, nothing was attached',
      )
      return 0
    }
    await using agent = await Agent.make(config, log, options.source)
    await agent.start()
    options.onRunning?.(agent)
    await aborted(signal)
    log.info({}, 'stopping')
  } catch (error) {
    const fields = SluiceError.is(error) ? { code: error.code, remedy: error.remedy } : {}
    log.error({ ...fields, err: errorText(error) }, 'agent cannot run')
    return 1
  }
  log.info({}, 'stopped')
  return 0
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}
