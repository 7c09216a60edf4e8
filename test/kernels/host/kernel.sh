# Sourced by run.sh: Debian's kernels, downloaded and unpacked, not installed.
#
#   $cache/SERIES/release     version as uname -r says it
#   $cache/SERIES/vmlinuz
#   $cache/SERIES/modules/    lib/modules/RELEASE, what networks and disks need of it
#   $cache/SERIES/initrd.gz

# Prints the name of the newest cloud kernel of a series that apt knows, nothing when it knows none.
newest_kernel() {
  local pattern
  case "$1" in
    6.1) pattern='^linux-image-6\.1\.0-[0-9]+-cloud-amd64$' ;;
    6.12) pattern='^linux-image-6\.12\.[0-9]+\+deb[0-9]+-cloud-amd64$' ;;
  esac
  apt-cache search --names-only "$pattern" | cut -d' ' -f1 | sort -V | tail -n 1
}

fetch_kernel() {
  local one=$1 dir=$cache/$1 package release
  package=$(newest_kernel "$one")
  if [ -z "$package" ] && [ -e "$dir/release" ]; then
    say "apt lists no $one kernel now: going on with $(cat "$dir/release")"
    return
  fi
  [ -n "$package" ] || die "apt lists no Debian cloud kernel $one: bookworm's main and security archives have it; run apt-get update"
  release=${package#linux-image-}
  if [ "$(cat "$dir/release" 2> /dev/null)" != "$release" ]; then
    say "downloading $package"
    rm -rf "$dir"
    mkdir -p "$dir/unpacked"
    (cd "$dir" && apt-get download -q -o APT::Sandbox::User="$(id -un)" "$package" >&2) ||
      die "Cannot download $package: is the package archive reachable?"
    dpkg-deb --fsys-tarfile "$dir"/*.deb | tar -x -C "$dir/unpacked" --exclude=./usr/share
    rm "$dir"/*.deb
    mv "$dir/unpacked/boot/vmlinuz-$release" "$dir/vmlinuz"
    keep_modules "$dir" "$release"
    rm -rf "$dir/unpacked"
    printf '%s\n' "$release" > "$dir/release"
  fi
  make_initrd "$dir" "$release"
}

# Sound, graphics and the like stay out of the image.
keep_modules() {
  local dir=$1 release=$2 from=$1/unpacked/lib/modules/$2 to=$1/modules/lib/modules/$2 part
  [ -d "$from" ] || from=$1/unpacked/usr/lib/modules/$2
  mkdir -p "$to/kernel/drivers"
  for part in net lib crypto arch fs/overlayfs drivers/net drivers/block drivers/virtio drivers/char; do
    [ -d "$from/kernel/$part" ] || continue
    mkdir -p "$to/kernel/$(dirname "$part")"
    cp -a "$from/kernel/$part" "$to/kernel/$part"
  done
  cp "$from"/modules.{builtin,builtin.modinfo,order} "$to/"
  depmod -b "$dir/modules" "$release"
}

# The disk driver is a module: a first file system in memory loads it and changes to the image.
make_initrd() {
  local dir=$1 release=$2 root=$1/initrd n=0 kind path
  rm -rf "$root"
  mkdir -p "$root"/{bin,dev,proc,modules,image}
  cp "$(command -v busybox)" "$root/bin/busybox"
  # One module is named once, after those it needs.
  while read -r kind path _; do
    [ "$kind" = insmod ] || continue
    n=$((n + 1))
    if [[ "$path" == *.xz ]]; then xz -dc "$path"; else cat "$path"; fi > "$root/modules/$(printf %02d $n).ko"
  done < <(for module in virtio_pci virtio_blk; do
    modprobe -d "$dir/modules" -S "$release" --show-depends "$module"
  done | awk '!seen[$2]++')
  cp "$here/guest/initrd-init" "$root/init"
  chmod 755 "$root/init"
  (cd "$root" && find . | LC_ALL=C sort | cpio -o -H newc --quiet -R 0:0) | gzip -1 > "$dir/initrd.gz"
  rm -rf "$root"
}
