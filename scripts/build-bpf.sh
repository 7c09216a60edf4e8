#!/usr/bin/env bash
# Compiles the eBPF objects: bpf/build/sluice.bpf.o, and testing.bpf.o beside it. Needs clang, llvm-strip and libbpf's headers; runs on no node.
set -euo pipefail
cd "$(dirname "$0")/.."
case "$(uname -m)" in
  x86_64) arch=x86 multiarch=x86_64-linux-gnu ;;
  aarch64) arch=arm64 multiarch=aarch64-linux-gnu ;;
  *) echo "build-bpf: no eBPF target for $(uname -m)" >&2; exit 1 ;;
esac
mkdir -p bpf/build
# testing.bpf.o: programs for tests and benchmarks, not for the agent.
for name in sluice testing; do
  out=bpf/build/$name.bpf.o
  clang -target bpf -mcpu=v3 -D"__TARGET_ARCH_$arch" -g -O2 -Wall -Werror -Wno-address-of-packed-member \
    -I bpf -I "/usr/include/$multiarch" -c "bpf/$name.bpf.c" -o "$out.tmp"
  llvm-strip -g "$out.tmp"
  # An agent or a test that opens it meanwhile finds the old one whole, or the new one.
  mv -f "$out.tmp" "$out"
done
