import { openSync } from 'node:fs'
import { errorText, SluiceError } from '../base/errors.ts'
import { addon } from './addon.ts'
import { Descriptor } from './descriptor.ts'

/** A network namespace, kept alive by being open. */
export class Netns extends Descriptor {
  /** @param path `/proc/<pid>/ns/net`, `/run/netns/<name>`, ... */
  static open(path: string): Netns {
    return new Netns(openSync(path, 'r'))
  }

  /** The one that this thread is in. */
  static current(): Netns {
    return Netns.open('/proc/thread-self/ns/net')
  }

  /**
   * Calls back with the thread in this namespace; it is back in its own afterwards, also when the callback throws.
   * Sockets, watches and attachments made inside belong to the namespace. A callback that awaits leaves it there.
   */
  run<T>(callback: () => T extends PromiseLike<unknown> ? never : T): T {
    return addon().netnsRun(this.fd, callback) as T
  }

  /** The kernel's number for it, never used twice. */
  cookie(): bigint {
    return this.run(() => addon().netnsCookie())
  }

  /** The calling thread's namespace's number for this one, as in LinkInfo.linkNetnsId; -1 = it has none. */
  idHere(): number {
    return addon().netlinkNetnsId(this.fd)
  }
}

/** Cookie of the calling thread's network namespace. */
export function currentNetnsCookie(): bigint {
  return addon().netnsCookie()
}

/** Opens a namespace that the configuration names. @throws SluiceError naming the path */
export function openNetns(path: string): Netns {
  try {
    return Netns.open(path)
  } catch (cause) {
    throw new SluiceError('SLUICE_KERNEL_ATTACH', `Cannot open network namespace "${path}": ${errorText(cause)}`, {
      cause,
      remedy: 'Check the path and that the agent may read it (CAP_SYS_ADMIN to enter)',
    })
  }
}
