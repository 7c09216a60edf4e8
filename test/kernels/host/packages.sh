# Sourced by run.sh: what this machine needs to build an image and to emulate, from Debian.

# command -> package
emulation_needs=(
  qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio mke2fs:e2fsprogs depmod:kmod xz:xz-utils
  nft:nftables ps:procps
)

install_packages() {
  local need missing=() sudo=
  for need in "${emulation_needs[@]}"; do
    command -v "${need%%:*}" > /dev/null || missing+=("${need#*:}")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing Debian packages: ${missing[*]}"
  command -v apt-get > /dev/null || die "no apt-get here: install the equivalents of ${missing[*]}"
  if [ "$(id -u)" != 0 ]; then
    command -v sudo > /dev/null || die "not root and no sudo: install them yourself: apt-get install ${missing[*]}"
    sudo=sudo
  fi
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
}
