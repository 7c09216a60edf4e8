#!/usr/bin/env bash
# Makes a fresh Debian machine with Node and npm ready: installs the Debian packages that are missing (and says which),
# the npm packages of package-lock.json, and builds. Does nothing, quickly, when all is there. Idempotent.
#
#   scripts/setup.sh            to run Sluice and its demo
#   scripts/setup.sh --test     also what the tests use (a Prometheus server, scapy, tcpdump)
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\033[2m[set-up]\033[0m %s\n' "$*" >&2; }

node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' ||
  { say "Node $(node --version) is too old: Sluice needs 20.19 or later"; exit 1; }

# command or file that shows a package is there -> package
needs=(
  clang:clang llvm-strip:llvm bpftool:bpftool cc:gcc /usr/include/stdlib.h:libc6-dev
  /usr/include/bpf/libbpf.h:libbpf-dev /usr/include/libelf.h:libelf-dev /usr/include/zlib.h:zlib1g-dev
  ip:iproute2 ping:iputils-ping nft:nftables nsenter:util-linux
)
if [ "${1:-}" = --test ]; then
  needs+=(promtool:prometheus openssl:openssl setpriv:util-linux setcap:libcap2-bin python3:python3)
fi

# node_api.h comes beside Node of nodejs.org and NodeSource; Debian's own node has it in a package of its own
prefix=$(dirname "$(dirname "$(readlink -f "$(command -v node)")")")
if [ ! -e "$prefix/include/node/node_api.h" ] && [ ! -e /usr/include/node/node_api.h ]; then
  needs+=(/usr/include/nodejs/src/node_api.h:libnode-dev /usr/include/uv.h:libuv1-dev)
fi

missing=()
for need in "${needs[@]}"; do
  probe=${need%%:*} package=${need#*:}
  case "$probe" in
    /*) [ -e "$probe" ] || missing+=("$package") ;;
    *) PATH="$PATH:/usr/sbin:/sbin:/usr/lib/llvm-14/bin" command -v "$probe" >/dev/null || missing+=("$package") ;;
  esac
done

if [ ${#missing[@]} -gt 0 ]; then
  say "installing Debian packages: ${missing[*]}"
  sudo=
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { say "not root and no sudo: install them yourself: apt-get install ${missing[*]}"; exit 1; }
    sudo=sudo
  fi
  command -v apt-get >/dev/null || { say "no apt-get here: install the equivalents of ${missing[*]}"; exit 1; }
  # A Debian prometheus starts a server of its own on installation; the tests start theirs on a free port.
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2
  $sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

stamp=node_modules/.sluice-lock
if ! cmp -s package-lock.json "$stamp" 2>/dev/null; then
  say "installing npm packages"
  npm ci --no-fund --no-audit --loglevel=error >&2
  cp package-lock.json "$stamp"
fi

bash scripts/build.sh
