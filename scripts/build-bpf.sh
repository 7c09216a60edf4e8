#!/usr/bin/env bash
# Compiles the eBPF object: bpf/build/sluice.bpf.o. Needs clang, llvm-strip and libbpf's headers; runs on no node.
set -euo pipefail
cd "$(dirname "$0")/.."
case "$(uname -m)" in
  x86_64) arch=x86 multiarch=x86_64-linux-gnu ;;
  aarch64) arch=arm64 multiarch=aarch64-linux-gnu ;;
  *) echo "build-bpf: no eBPF target for $(uname -m)" >&2; exit 1 ;;
esac
mkdir -p bpf/build
clang -target bpf -mcpu=v3 -D"__TARGET_ARCH_$arch" -g -O2 -Wall -Werror -Wno-address-of-packed-member \
  -I bpf -I "/usr/include/$multiarch" -c bpf/sluice.bpf.c -o bpf/build/sluice.bpf.o
llvm-strip -g bpf/build/sluice.bpf.o
