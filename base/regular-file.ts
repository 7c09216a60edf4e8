import { constants } from 'node:fs'
import { open } from 'node:fs/promises'

/**
 * Text of a file that somebody else writes. What is no regular file is refused and not waited for: to read a named pipe
 * takes until somebody writes to it, and a device may never end.
 *
 * @throws Error of the file system, or when it is no regular file or larger than so many bytes
 */
export async function readRegularFile(path: string, maxBytes: number): Promise<string> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    const info = await file.stat()
    if (!info.isFile()) throw new Error(`"${path}" is no regular file`)
    if (info.size > maxBytes) throw new Error(`"${path}" has ${info.size} bytes, want at most ${maxBytes}`)
    return await file.readFile('utf8')
  } finally {
    await file.close()
  }
}
