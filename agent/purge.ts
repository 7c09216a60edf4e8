import { errorText, SluiceError } from '../base/errors.ts'
import { purgeDatapath } from '../collector/kernel/index.ts'
import { loadConfig, type Overrides } from './config.ts'
import { makeLogger } from './log.ts'

/**
 * Takes out of the kernel what agents with this configuration left there for the next one: programs on devices, counters,
 * pins. For a node that is to have no agent any more.
 *
 * @returns exit code: 0 nothing is left, 1 something could not be taken out, for instance while an agent runs
 * @throws SluiceError SLUICE_CONFIG_INVALID
 */
export function purgeNode(options: { readonly configPath?: string; readonly overrides: Overrides }): number {
  const { configPath: path, overrides } = options
  const { kernel, node, agentLog } = loadConfig({ overrides, ...(path === undefined ? {} : { path }) })
  const log = makeLogger(agentLog)
  const pins = `${kernel.pinPath}/${kernel.instance}`
  try {
    const { pinPath, instance } = kernel
    const hadAny = purgeDatapath({ pinPath, instance, netns: node.netns })
    log.info({ pins }, hadAny ? 'programs, counters and pins are taken out' : 'nothing was left in the kernel')
    return 0
  } catch (error) {
    const fields = SluiceError.is(error) ? { code: error.code, remedy: error.remedy } : {}
    log.error({ ...fields, pins, err: errorText(error) }, 'cannot take everything out')
    return 1
  }
}
