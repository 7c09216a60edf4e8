import type { FileHandle } from 'node:fs/promises'

const BLOCK_BYTES = 65_536
const NEWLINE = 10

/**
 * Cuts a file behind its last newline: a writer that was killed, or a disk that was full, leaves half a line there.
 * A file without any newline becomes empty.
 *
 * @param file open for reading and writing
 * @returns bytes cut, 0 when the file is empty or ends with a newline
 */
export async function cutTornLine(file: FileHandle): Promise<number> {
  const { size } = await file.stat()
  const keep = await endOfLastLine(file, size)
  if (keep < size) await file.truncate(keep)
  return size - keep
}

/** Position behind the last newline before `size`; 0 when there is none. Reads backwards, a block at a time. */
async function endOfLastLine(file: FileHandle, size: number): Promise<number> {
  const block = Buffer.alloc(Math.min(BLOCK_BYTES, size))
  // The usual case costs one byte: the file ends with a newline.
  for (let end = size, want = 1; end > 0; want = BLOCK_BYTES) {
    const start = Math.max(0, end - want)
    const { bytesRead } = await file.read(block, 0, end - start, start)
    const found = block.lastIndexOf(NEWLINE, bytesRead - 1)
    if (bytesRead > 0 && found >= 0) return start + found + 1
    end = start
  }
  return 0
}
