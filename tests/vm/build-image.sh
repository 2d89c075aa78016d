#!/bin/bash
# build-image.sh [RELEASE] [EXTRA,PACKAGES]: the image that run-in-vm.sh and run-in-nspawn.sh boot.
# Prints its stem; it is made if it is not in $VM_CACHE (~/.cache/varbos-vm) yet:
#   STEM.cpio     a minimal Debian with systemd, as an uncompressed initramfs: it needs no kernel
#                 module, no disk, no boot loader and no initrd of its own
#   STEM.vmlinuz  that release's linux-image-cloud-amd64 (VM_KERNEL=linux-image-amd64: the full one)
# The stem has a hash of what went into it: this file, the release, the packages, the kernel's name.
# Needs mmdebstrap and cpio; root, or any user with user namespaces (subuid).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/vm/debian.sh
. "$here/debian.sh"

release=${1:-$(debian_release)}
packages=systemd,systemd-sysv,dbus,libpam-systemd,numactl,procps${2:+,$2}
export KERNEL=${VM_KERNEL:-linux-image-cloud-amd64}
key=$(cat "$here/build-image.sh" "$here/debian.sh" <(echo "$release $packages $KERNEL") |
	sha256sum | cut -c1-12)
stem=$VM_CACHE/$release-$key

mkdir -p "$VM_CACHE"
exec 9>"$VM_CACHE/.lock"
flock 9 # one builds, the others use it
if [[ -s $stem.cpio && -s $stem.vmlinuz ]]; then
	touch "$stem.cpio" "$stem.vmlinuz"
	echo "$stem"
	exit
fi

options=()
for folder in doc man info locale i18n zoneinfo lintian bash-completion; do
	options+=("--dpkgopt=path-exclude=/usr/share/$folder/*")
done
# What no test needs is left out: the image lives in the machine's memory.
# shellcheck disable=SC2016 # the hooks are scripts of their own
options+=(
	--customize-hook='export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
		cd "$1/tmp"
		name=$(apt-cache depends "$KERNEL" |
			sed -n "s/ *Depends: \(linux-image-[0-9].*\)/\1/p" | head -n1)
		apt-get -qq -o APT::Sandbox::User=root download "${name:-$KERNEL}"
		dpkg-deb --fsys-tarfile linux-image*.deb | tar -x --wildcards "./boot/vmlinuz-*"
		mv boot/vmlinuz-* ../vmlinuz
		rm -rf ./*'
	--customize-hook='cd "$1"
		rm -rf var/cache/apt var/lib/apt/lists var/lib/dpkg usr/lib/*/perl* usr/share/perl* \
			usr/lib/*/libperl* usr/lib/udev/hwdb*
		mkdir -p share out
		echo vm >etc/hostname
		echo 0123456789abcdef0123456789abcdef >etc/machine-id
		for unit in getty.target systemd-modules-load.service \
			systemd-journal-flush.service systemd-tmpfiles-clean.timer; do
			ln -s /dev/null "etc/systemd/system/$unit"
		done
		ln -sf multi-user.target usr/lib/systemd/system/default.target
		find . -path "./dev/*" -prune -o -path "./proc/*" -prune -o -path "./sys/*" -prune \
			-o ! -name vmlinuz ! -name root.cpio -print |
			LC_ALL=C sort | cpio --quiet -o -H newc >root.cpio'
	--customize-hook="download /vmlinuz $stem.vmlinuz"
	--customize-hook="download /root.cpio $stem.cpio.new"
)
debian_bootstrap "$release" /dev/null --variant=essential --include="$packages" \
	"${options[@]}" >&2 9>&-
mv "$stem.cpio.new" "$stem.cpio"
# What two weeks of runs have not used, no run will.
find "$VM_CACHE" -maxdepth 1 -type f \( -name '*.cpio*' -o -name '*.vmlinuz' \) -mtime +14 -delete
echo "$stem"
