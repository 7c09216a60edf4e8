# Sourced by run.sh: the disk of the guest, an ext4 image of this machine's own Debian packages, its Node and the project.
# A copy rather than a fresh installation, because the native addon is built against the libraries that are here.

# Packages whose programs or libraries the tests use; apt names what these need.
guest_packages=(
  base-files bash coreutils libc-bin hostname util-linux mount procps grep sed kmod iproute2 iputils-ping nftables bpftool
  python3 libbpf1 libelf1 zlib1g libstdc++6
)
# npm packages that no kernel test loads: compilers and the like, 250 MB.
skipped_modules=(@biomejs @bufbuild/buf-linux-x64 @typescript typescript dprint-node @babel node-gyp)

build_image() {
  local root=$cache/root release one size
  say "filling the image"
  rm -rf "$root"
  mkdir -p "$root"/usr/{bin,sbin,lib,lib64} "$root"/{dev,proc,sys,run,tmp,var/tmp,root,sluice,etc}
  for one in bin sbin lib lib64; do ln -s "usr/$one" "$root/$one"; done
  copy_packages "$root"
  copy_node "$root"
  copy_project "$root"
  for one in "$@"; do
    release=$(cat "$cache/$one/release")
    mkdir -p "$root/usr/lib/modules"
    cp -a "$cache/$one/modules/lib/modules/$release" "$root/usr/lib/modules/"
  done
  install -m 755 "$here/guest/init" "$root/sbin/sluice-init"
  cp "$cache/tests" "$root/sluice.tests"
  size=$(($(du -sm "$root" | cut -f1) * 5 / 4 + 256))
  rm -f "$cache/image.ext4"
  mke2fs -q -t ext4 -O ^has_journal -m 0 -E root_owner=0:0 -d "$root" "$cache/image.ext4" "${size}M" > /dev/null
  rm -rf "$root"
}

# Prints the packages and all that they depend on, of what is installed here.
installed_closure() {
  apt-cache depends --recurse --installed --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
    --no-enhances "$@" | grep -E '^[a-z0-9]' | sort -u |
    while read -r name; do
      dpkg-query -W -f '${db:Status-Abbrev} ${binary:Package}\n' "$name" 2> /dev/null || true
    done | awk '$1 == "ii" { print $2 }' | sort -u
}

copy_packages() {
  local root=$1 packages
  mapfile -t packages < <(installed_closure "${guest_packages[@]}")
  # Debian's /bin is /usr/bin, whatever the package's list says.
  { dpkg -L "${packages[@]}"; find /etc/alternatives /etc/ld.so.* /etc/passwd /etc/group /etc/nsswitch.conf; } |
    grep -vE '^(/usr/share/(doc|man|locale|info|lintian|bug|perl)|/usr/include|/var)/' |
    sed -E 's#^/(bin|sbin|lib|lib64)/#/usr/\1/#' | sort -u |
    while read -r path; do if [ -L "$path" ] || [ -f "$path" ]; then printf '%s\n' "$path"; fi; done |
    tar -c -P --no-recursion --ignore-failed-read -T - 2> /dev/null | tar -x -P --transform "s#^/#$root/#S" -C /
  # Links whose names no package lists: sh, the interpreters' short names, libraries by ldconfig.
  cp -a /etc/alternatives "$root/etc/"
  [ -e "$root/bin/sh" ] || ln -s bash "$root/bin/sh"
  ldconfig -r "$root" 2> /dev/null || true
}

# Node may be from anywhere: its program, and the libraries that it and the addon need.
copy_node() {
  local root=$1 node file
  node=$(node -p 'process.execPath')
  install -D -m 755 "$node" "$root/usr/bin/node"
  ldd "$node" "$project"/native/build/Release/*.node | awk '/=> \// { print $3 }' | sort -u |
    while read -r file; do
      [ -e "$root$(readlink -f "$file")" ] || install -D "$file" "$root$file"
    done
}

copy_project() {
  local root=$1 skip=() one
  for one in "${skipped_modules[@]}"; do skip+=("--exclude=./node_modules/$one"); done
  tar -c -C "$project" --exclude=./.git --exclude=./test/kernels/.cache --exclude=./test/interop/bin --exclude=./coverage \
    --exclude=./docs --exclude=./bpf/vmlinux "${skip[@]}" . | tar -x -C "$root/sluice"
}
