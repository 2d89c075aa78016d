#!/bin/bash
# run-in-nspawn.sh [--release R] [--packages P] [--share DIR] [--timeout S] -- COMMAND [ARG...]
# As run-in-vm.sh, but systemd is PID 1 of a container on the host's kernel: about a second, without
# NUMA nodes or hugepages of its own. Needs root and systemd-container.
# The same exit status: COMMAND's; 124 timeout; 125 the container ended before COMMAND; 2 usage.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
share='' release='' packages='' timeout=60
while (($#)); do
	case $1 in
	--) shift; break ;;
	--release) release=$2 ;;
	--packages) packages=$2 ;;
	--share) share=$2 ;;
	--timeout) timeout=$2 ;;
	*) echo "run-in-nspawn: unknown option $1" >&2; exit 2 ;;
	esac
	shift 2
done
(($#)) || { echo "run-in-nspawn: no command" >&2; exit 2; }
((EUID == 0)) || { echo "run-in-nspawn: needs root" >&2; exit 2; }
# Two such containers would meet in one cgroup.
exec 9>"${TMPDIR:-/tmp}/varbos-nspawn.lock"
flock 9
image=$("$here/build-image.sh" "$release" "$packages")

# The container ends with this script, whatever ends it, and its folder after it.
work=$(mktemp -d "${TMPDIR:-/tmp}/varbos-nspawn-XXXXXX")
container=''
# shellcheck disable=SC2317 # trap calls it
cleanup() {
	trap '' INT TERM HUP
	if [[ -n $container ]]; then
		kill -KILL "-$container" 2>/dev/null || :
		wait "$container" 2>/dev/null || :
	fi
	# The groups that --keep-unit made in this one's own.
	for group in /sys/fs/cgroup{,/unified,/systemd}"$(sed -n 's/^0:://p' /proc/self/cgroup)"/{payload,supervisor}; do
		[[ ! -d $group ]] || find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || :
	done
	# Its last processes may write for a moment longer.
	for ((i = 0; i < 50; i++)); do
		rm -rf --one-file-system "$work" 2>/dev/null && return
		sleep 0.1
	done
	rm -rf --one-file-system "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

root=$work/root
mkdir "$root"
(cd "$root" && cpio -idm --quiet <"$image.cpio")
[[ -z $share ]] || cp -a "$share/." "$root/share/"
if (($# == 1)); then printf '%s\n' "$1"; else printf '%q ' "$@"; fi >"$root/vmcmd"
cat >"$root/vmrun" <<'AGENT'
#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
systemctl is-system-running --wait >/dev/null
cd /share
bash /vmcmd >/out/log 2>&1 </dev/null
echo $? >/out/status
systemctl exit 0
AGENT
chmod 755 "$root/vmrun"
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
printf '[Service]\nExecStart=/vmrun\nLimitMEMLOCK=infinity\n' >"$root/etc/systemd/system/vmrun.service"
ln -s ../vmrun.service "$root/etc/systemd/system/multi-user.target.wants/"
: >"$root/out/log"

# A process group of its own, so that one signal reaches all of it; and SIGKILL for this script ends
# it as well.
set -m
setpriv --pdeathsig KILL timeout --foreground -k 5 "$timeout" setpriv --pdeathsig KILL unshare --pid --fork \
	--kill-child --mount-proc systemd-nspawn -q -D "$root" -M "varbos$$" --register=no \
	--keep-unit --private-network --system-call-filter=pidfd_getfd -b </dev/null >"$work/console" 2>&1 9>&- &
container=$!
set +m
tail -q -n +1 -s 0.1 --pid=$container -f "$root/out/log" &
shown=$!
ended=0
wait "$container" || ended=$?
wait "$shown" || :
container=''

if [[ ! -s $root/out/status ]]; then
	tail -n 20 "$work/console" >&2
	((ended != 124)) || { echo "run-in-nspawn: timeout after $timeout s" >&2; exit 124; }
	echo "run-in-nspawn: the container ended before the command did (status $ended)" >&2
	exit 125
fi
exit "$(cat "$root/out/status")"
