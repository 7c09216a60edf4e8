#!/usr/bin/env bash
# Builds the addon: native/src/*.c to native/build/Release/sluice_native.node, with the C compiler alone.
# Node-API's symbols are found in the node binary at load; a binary built once works for every later Node.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "build-native: $1" >&2
  exit 1
}

CC=${CC:-$(command -v cc || command -v clang || command -v gcc || true)}
[ -n "$CC" ] || fail "no C compiler: apt-get install gcc"

prefix=$(node -p 'require("node:path").resolve(process.execPath, "../..")')
include=
for dir in "${NODE_INCLUDE:-}" "$prefix/include/node" /usr/include/node /usr/local/include/node /usr/include/nodejs/src; do
  if [ -n "$dir" ] && [ -f "$dir/node_api.h" ]; then
    include=$dir
    break
  fi
done
[ -n "$include" ] || fail "no node_api.h beside node: apt-get install libnode-dev, or set NODE_INCLUDE to the folder that has it"
# Debian's own libnode-dev keeps libuv's headers in their own package.
[ -f "$include/uv.h" ] || [ -f /usr/include/uv.h ] || fail "no uv.h: apt-get install libuv1-dev"
[ -f /usr/include/bpf/libbpf.h ] || [ -n "${CPATH:-}" ] || fail "no bpf/libbpf.h: apt-get install libbpf-dev"

out=native/build/Release
mkdir -p "$out"
"$CC" -std=gnu11 -O2 -g -fPIC -shared -fvisibility=hidden -fstack-protector-strong -D_FORTIFY_SOURCE=2 \
  -Wall -Wextra -Wno-unused-parameter ${NATIVE_CFLAGS:-} \
  -isystem "$include" native/src/*.c -lbpf -Wl,-z,relro,-z,now -o "$out/sluice_native.node.tmp"
# A running agent has the old file mapped: replace it, never write into it.
mv -f "$out/sluice_native.node.tmp" "$out/sluice_native.node"
