import { currentNetnsCookie, type Netns, openNetns } from '../../native/index.ts'

/**
 * The network namespace whose devices are watched. The agent's own needs no entering, and so no CAP_SYS_ADMIN;
 * another one is entered for the length of each call.
 */
export class NodeNamespace implements Disposable {
  readonly cookie: bigint
  /** undefined = the agent's own */
  readonly netns: Netns | undefined

  /** @param path undefined = the agent's own */
  constructor(path: string | undefined) {
    this.netns = path === undefined ? undefined : openNetns(path)
    this.cookie = this.netns?.cookie() ?? currentNetnsCookie()
  }

  /** Calls back in the namespace; synchronous. */
  run<T>(callback: () => T extends PromiseLike<unknown> ? never : T): T {
    return this.netns ? this.netns.run(callback) : (callback() as T)
  }

  [Symbol.dispose](): void {
    this.netns?.[Symbol.dispose]()
  }
}
