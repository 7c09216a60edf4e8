/**
 * The path of an HTTP request's target, read the way Go's url.ParseRequestURI does, because Hubble matches http_path
 * against that: absolute URL or absolute path, `*`, no fragment, percent escapes decoded.
 *
 * @returns undefined when Go would refuse the text; '' for an opaque or path-less URL
 */
export function requestPath(target: string): string | undefined {
  // Control characters are refused; the first test keeps ordinary paths, which have neither scheme nor escapes, cheap.
  if (target === '' || hasControl(target)) return undefined
  if (target === '*') return '*'
  const scheme = schemeOf(target)
  if (scheme === undefined) return undefined
  let rest = scheme === '' ? target : target.slice(scheme.length + 1)
  const query = rest.indexOf('?')
  if (query >= 0) rest = rest.slice(0, query)
  if (!rest.startsWith('/')) return scheme === '' ? undefined : ''
  if (scheme !== '' && rest.startsWith('//')) {
    const slash = rest.indexOf('/', 2)
    if (!isAuthority(slash < 0 ? rest.slice(2) : rest.slice(2, slash))) return undefined
    rest = slash < 0 ? '' : rest.slice(slash)
  }
  return unescapePath(rest)
}

function hasControl(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code < 0x20 || code === 0x7f) return true
  }
  return false
}

/** @returns '' when there is none, undefined when the text starts with a colon */
function schemeOf(text: string): string | undefined {
  for (let i = 0; i < text.length; i++) {
    const char = text[i]!
    if (/[a-zA-Z]/.test(char)) continue
    if (char === ':') return i === 0 ? undefined : text.slice(0, i)
    if (i > 0 && /[0-9+.-]/.test(char)) continue
    return ''
  }
  return ''
}

function isAuthority(authority: string): boolean {
  const at = authority.lastIndexOf('@')
  if (at >= 0) {
    const user = authority.slice(0, at)
    if (!/^[A-Za-z0-9\-._:~!$&'()*+,;=%@]*$/.test(user) || unescapePath(user) === undefined) return false
  }
  return isHost(authority.slice(at + 1))
}

function isHost(host: string): boolean {
  if (host.startsWith('[')) {
    const close = host.lastIndexOf(']')
    if (close < 0 || !/^(?::[0-9]*)?$/.test(host.slice(close + 1))) return false
    return isHostText(host.slice(1, close), true)
  }
  const colon = host.indexOf(':')
  if (colon >= 0 && !/^:[0-9]*$/.test(host.slice(colon))) return false
  return isHostText(colon < 0 ? host : host.slice(0, colon), false)
}

/** Host names may escape bytes above 0x7f only; a zone in brackets may escape anything. */
function isHostText(text: string, isBracketed: boolean): boolean {
  for (let i = 0; i < text.length; i++) {
    const char = text[i]!
    if (char === '%') {
      const hex = text.slice(i + 1, i + 3)
      if (!/^[0-9a-fA-F]{2}$/.test(hex)) return false
      if (Number.parseInt(hex, 16) < 0x80 && !(isBracketed && text.includes('%25'))) return false
      i += 2
    } else if (char.charCodeAt(0) < 0x80 && !/[A-Za-z0-9\-._~!$&'()*+,;=:[\]<>"]/.test(char)) {
      return false
    }
  }
  return true
}

const decoder = new TextDecoder()
const encoder = new TextEncoder()

function unescapePath(path: string): string | undefined {
  if (!path.includes('%')) return path
  if (/%(?![0-9a-fA-F]{2})/.test(path)) return undefined
  const bytes = encoder.encode(path)
  let length = 0
  for (let i = 0; i < bytes.length; i++) {
    if (bytes[i] === 0x25) {
      bytes[length++] = Number.parseInt(String.fromCharCode(bytes[i + 1]!, bytes[i + 2]!), 16)
      i += 2
    } else {
      bytes[length++] = bytes[i]!
    }
  }
  return decoder.decode(bytes.subarray(0, length))
}
