import { errorText, SluiceError } from '../../base/errors.ts'
import { currentNetnsCookie, type Netns, openNetns } from '../../native/index.ts'

/**
 * The network namespace whose devices are watched. The agent's own needs no entering, and so no CAP_SYS_ADMIN;
 * another one is entered for the length of each call.
 */
export class NodeNamespace implements Disposable {
  readonly cookie: bigint
  /** undefined = the agent's own */
  readonly netns: Netns | undefined

  /**
   * @param path undefined = the agent's own
   * @throws SluiceError SLUICE_KERNEL_ATTACH naming the path
   */
  constructor(path: string | undefined) {
    this.netns = path === undefined ? undefined : openNetns(path)
    try {
      this.cookie = this.netns?.cookie() ?? currentNetnsCookie()
    } catch (cause) {
      this.netns?.[Symbol.dispose]()
      throw new SluiceError(
        'SLUICE_KERNEL_ATTACH',
        `Cannot use network namespace "${path ?? 'own'}": ${errorText(cause)}`,
        { cause, remedy: 'A namespace other than the agent’s own needs CAP_SYS_ADMIN' },
      )
    }
  }

  /** Calls back in the namespace; synchronous. */
  run<T>(callback: () => T extends PromiseLike<unknown> ? never : T): T {
    return this.netns ? this.netns.run(callback) : (callback() as T)
  }

  [Symbol.dispose](): void {
    this.netns?.[Symbol.dispose]()
  }
}
