#!/bin/bash
# fresh.sh: what the README promises of a bare Debian. In a folder that mmdebstrap has just made lies
# a clone of what is committed here; in a chroot, in namespaces of its own, a user with sudo types the
# first of the two commands, and root the second with unit and integration. Needs root; says TAP.
# FRESH_KEEP=FOLDER: a folder of before, instead of a new one; it stays, for a look around.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
# shellcheck source=tests/vm/debian.sh
. "$here/debian.sh"
# shellcheck source=tests/vm/cases.sh
. "$here/cases.sh"

HUGEPAGES=/proc/sys/vm/nr_hugepages
LOCK=/tmp/varbos-test-hugepages.lock # of tests/hugepages.c; who holds it may have borrowed some
work=''
hugepages=''

# Whoever is ended in the midst of a test with hugepages cannot put them back.
hugepages_put_back() {
	[[ -w $HUGEPAGES && -n $hugepages ]] || return 0
	(($(<"$HUGEPAGES") <= hugepages)) || echo "$hugepages" >"$HUGEPAGES"
}

# shellcheck disable=SC2317 # trap calls it
cleanup() {
	trap '' INT TERM HUP
	local pids
	pids=$(jobs -p)
	# shellcheck disable=SC2086 # a list
	if [[ -n $pids ]]; then
		kill -TERM $pids 2>/dev/null || :
		wait 2>/dev/null || :
	fi
	exec 8>>"$LOCK"
	flock -w 60 8 && hugepages_put_back
	exec 8>&-
	[[ -z $work || -n ${FRESH_KEEP:-} ]] || rm -rf --one-file-system "$work"
}

# inside COMMAND...: in the chroot; all mounts and processes are gone when it returns or is killed.
inside() {
	# shellcheck disable=SC2016 # the script is the inner shell's
	setpriv --pdeathsig KILL unshare --mount --pid --ipc --fork --kill-child bash -c '
		set -eu
		root=$1 lock=$2
		shift 2
		mount -t proc proc "$root/proc"
		mount -t sysfs -o ro sysfs "$root/sys"
		mount --rbind /dev "$root/dev"
		mount -t tmpfs -o size=64m,mode=755 tmpfs "$root/run"
		mount -t tmpfs -o size=2g,mode=1777 tmpfs "$root/dev/shm"
		touch "$root$lock"
		mount --bind "$lock" "$root$lock"
		exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root \
			"http_proxy=${http_proxy:-}" "https_proxy=${https_proxy:-}" "$@"
		' bash "$work" "$LOCK" "$@" &
	wait $!
}

test_a_bare_debian_and_a_clone_of_what_is_committed() {
	if [[ ! -e $work/etc/debian_version ]]; then
		debian_bootstrap "$(debian_release)" "$work" --variant=minbase --include=sudo \
			--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*'
		cp -L /etc/resolv.conf "$work/etc/resolv.conf"
		inside useradd --create-home --shell /bin/bash alice
		echo 'alice ALL=(ALL) NOPASSWD: ALL' >"$work/etc/sudoers.d/alice"
	fi
	rm -rf "$work/home/alice/varbos"
	clone_tree "$top" "$work/home/alice/varbos"
	inside chown -R alice: /home/alice
	# shellcheck disable=SC2016 # dpkg-query's variables
	hasnt "$(inside dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n')" '^ii +(gcc|meson|python3)$'
}

test_dev_run_as_a_user_with_sudo_installs_builds_and_shows() {
	local said
	said=$(inside su alice -c 'cd ~/varbos && ./dev run 2>&1') || { echo "$said"; false; }
	echo "$said"
	has "$said" '^== installing .*meson'
	has "$said" '^images'
	has "$said" 'the daemon ended cleanly'
}

test_dev_test_as_root_installs_the_rest_and_passes_unit_and_integration() {
	local said
	inside chown -R root: /home/alice/varbos # git wants to know whose tree it is
	said=$(inside bash -c 'cd /home/alice/varbos && ./dev test unit integration 2>&1') ||
		{ tail -n 100 <<<"$said"; false; }
	tail -n 100 <<<"$said"
	has "$said" '^[1-9][0-9]* passed, 0 failed$'
	hasnt "$said" '^[0-9]+ skipped'
}

((EUID == 0)) || { echo "fresh.sh: needs root" >&2; exit 2; }
trap cleanup EXIT
trap 'exit 130' INT TERM HUP
exec 8>>"$LOCK"
flock 8
hugepages=$(<"$HUGEPAGES") || hugepages=
exec 8>&-
work=${FRESH_KEEP:-}
if [[ -n $work ]]; then
	mkdir -p "$work"
else
	work=$(mktemp -d "${TMPDIR:-/tmp}/varbos-fresh-XXXXXX")
	chmod 755 "$work"
fi
run_cases
