import { connect, createServer, type Server, type Socket } from 'node:net'

/** A way to a server of loopback that can be cut: what the network between an agent and the API server does. */
export class Gate implements AsyncDisposable {
  readonly #target: number
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #isOpen = true

  private constructor(target: number) {
    this.#target = target
    this.#server = createServer((socket) => this.#accept(socket))
  }

  /** @param target port */
  static async open(target: number): Promise<Gate> {
    const gate = new Gate(target)
    await new Promise<void>((resolve, reject) => {
      gate.#server.once('error', reject).listen(0, '127.0.0.1', resolve)
    })
    return gate
  }

  get port(): number {
    const address = this.#server.address()
    return typeof address === 'object' && address !== null ? address.port : 0
  }

  /** Cuts what is connected, and whoever connects. */
  shut(): void {
    this.#isOpen = false
    for (const socket of this.#sockets) socket.destroy()
  }

  reopen(): void {
    this.#isOpen = true
  }

  #accept(socket: Socket): void {
    if (!this.#isOpen) {
      socket.destroy()
      return
    }
    const other = connect(this.#target, '127.0.0.1')
    for (const [one, another] of [
      [socket, other],
      [other, socket],
    ] as const) {
      this.#sockets.add(one)
      one.on('error', () => another.destroy())
      one.on('close', () => {
        this.#sockets.delete(one)
        another.destroy()
      })
      one.pipe(another)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.shut()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}
