import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { detachEverywhere } from './attachments.ts'
import { EndpointMaps } from './endpoint-maps.ts'
import { NodeNamespace } from './node-namespace.ts'
import { DATAPATH_DEFAULTS, type DatapathOptions } from './options.ts'
import { PinDirectory } from './pins.ts'

/**
 * Takes out what an agent that was killed, or removed for good, left in the kernel: attachments, counters, pins. Loads
 * nothing. A network namespace that is gone has taken its devices' filters along.
 *
 * @returns false when there was nothing
 * @throws SluiceError SLUICE_PIN_DIR while an agent runs with these pins
 */
export function purgeDatapath(given: Partial<Pick<DatapathOptions, 'instance' | 'pinPath' | 'netns'>> = {}): boolean {
  const { instance, pinPath, netns } = { ...DATAPATH_DEFAULTS, ...given }
  if (pinPath === undefined || !existsSync(join(pinPath, instance))) return false
  using pins = PinDirectory.open(pinPath, instance)
  {
    using endpoints = pins.map('endpoints')
    using names = pins.map('netns')
    if (endpoints && names && (netns === undefined || existsSync(netns))) {
      using node = new NodeNamespace(netns)
      detachEverywhere([...new EndpointMaps(endpoints, names).inherited().keys()], instance, node)
    }
  }
  pins.removeAll(pinPath)
  return true
}
