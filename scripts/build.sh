#!/usr/bin/env bash
# Builds what is older than its sources: the eBPF object, the native addon, and dist/.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/sbin:/sbin:/usr/lib/llvm-14/bin"

say() { printf '\033[2m[build]\033[0m %s\n' "$*" >&2; }
# true when the target is missing or any file below the given places is newer
stale() {
  local target=$1
  shift
  [ ! -e "$target" ] || [ -n "$(find "$@" -newer "$target" -type f -not -path '*/build/*' -print -quit 2>/dev/null)" ]
}

if stale bpf/build/sluice.bpf.o bpf scripts/build-bpf.sh; then
  say "eBPF object"
  bash scripts/build-bpf.sh
fi
if stale native/build/Release/sluice_native.node native/src scripts/build-native.sh; then
  say "native addon"
  bash scripts/build-native.sh
fi
sources=(base model native kubernetes collector filters control exporters api enforcement agent cli lab tsconfig.json tsconfig.build.json)
if stale dist/.built "${sources[@]}"; then
  say "TypeScript"
  # Beside the old one and swapped at the end: an agent or demo may be running from it.
  rm -rf dist.new
  npx --no-install tsc -p tsconfig.build.json --outDir dist.new
  touch dist.new/.built
  rm -rf dist.old
  if [ -e dist ]; then mv dist dist.old; fi
  mv dist.new dist
  rm -rf dist.old
fi
