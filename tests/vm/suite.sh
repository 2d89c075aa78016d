#!/bin/bash
# suite.sh container|trixie|vm|fresh [BUILD]: one of the suites that want a machine of their own; says TAP.
# What is tried is BUILD (build/main) as `meson install` lays it out, found in there as it would be on
# an operator's machine. CASES=REGEX: only the cases that match.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
# shellcheck source=tests/vm/debian.sh
. "$here/debian.sh"
suite=${1:-} build=$(readlink -f "${2:-$top/build/main}")
PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH

share=''
child=''
# shellcheck disable=SC2317 # trap calls it
cleanup() {
	trap '' INT TERM HUP
	if [[ -n $child ]]; then
		kill -TERM "$child" 2>/dev/null || :
		wait "$child" 2>/dev/null || :
	fi
	[[ -z $share ]] || rm -rf "$share"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

# In the background, so that a signal for this script is heard at once.
child() {
	local status=0
	"$@" &
	child=$!
	wait "$child" || status=$?
	child=''
	return "$status"
}

# What the machines find in /share: the installed tree, the probes, the cases.
stage() {
	share=$(mktemp -d "${TMPDIR:-/tmp}/varbos-share-XXXXXX")
	chmod 755 "$share"
	meson install -C "$build" --no-rebuild --quiet --destdir "$share/root" >/dev/null
	find "$share/root" -type f -perm -u+x -exec sh -c '
		for file; do ! readelf -h "$file" >/dev/null 2>&1 || strip --strip-debug "$file"; done
		' sh {} +
	mkdir "$share/bin"
	find "$build/tests/vm" -maxdepth 1 -type f -perm -u+x -exec cp {} "$share/bin/" \;
	# An emulated machine on a busy one may be longer about an answer than varbosctl waits by itself.
	printf '#!/bin/sh\nexec /usr/local/bin/varbosctl --timeout 60 "$@"\n' >"$share/bin/varbosctl"
	chmod 755 "$share/bin/varbosctl"
	cp "$top/ARCHITECTURE.md" "$share/" # what test_isolation finds has to be what it says
	cp "$here"/{cases,inside}.sh "$here"/in-*.sh "$share/"
	packages=$(find "$share/root" "$share/bin" -type f -perm -u+x -print0 |
		while IFS= read -r -d '' file; do
			! readelf -h "$file" >/dev/null 2>&1 || debian_libraries "$file"
		done | sort -u | paste -sd,)
}

# died NAME STATUS: a machine that did not come to its end is a failure with a name.
died() {
	(($2 <= 1)) || printf 'not ok - %s came to its end (status %d)\n' "$1" "$2"
}

failed=0
# machine NAME SCRIPT [OPTION...]: the cases of in-SCRIPT.sh in a virtual machine.
machine() {
	local name=$1 script=$2 status=0
	shift 2
	printf '# machine: %s\n' "$name"
	child "$here/run-in-vm.sh" --packages "$packages" --share "$share" "$@" -- \
		"CASES=$(printf %q "${CASES:-}") bash in-$script.sh" || status=$?
	died "$name" "$status"
	((status == 0)) || failed=1
}

# Read as a whole before it runs: who edits it meanwhile does not disturb it.
{
case $suite in
container)
	stage
	echo "# machine: the container"
	status=0
	child "$here/run-in-nspawn.sh" --packages "$packages" --share "$share" --timeout 600 -- \
		"CASES=$(printf %q "${CASES:-}") bash in-container.sh" || status=$?
	died "the container" "$status"
	((status == 0)) || failed=1
	;;
trixie)
	# Another release has other packages: what was built here brings its libraries, but for libc and
	# systemd's.
	stage
	find "$share/root" "$share/bin" -type f -perm -u+x -print0 |
		while IFS= read -r -d '' file; do
			! readelf -h "$file" >/dev/null 2>&1 || ldd "$file" | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p'
		done | sort -u |
		grep -E '/lib(uv|msgpackc|numa|subunit|xxhash|stdc\+\+|gcc_s)[.0-9-]*\.so' >"$share/libraries"
	xargs cp -Lt "$share/root/usr/local/lib" <"$share/libraries"
	echo "# machine: a container with Debian 13"
	status=0
	child "$here/run-in-nspawn.sh" --release trixie --packages passwd --share "$share" --timeout 600 -- \
		"CASES=$(printf %q "${CASES:-what_is_installed|start_returns|keep}") bash in-container.sh" ||
		status=$?
	died "the container" "$status"
	((status == 0)) || failed=1
	;;
vm)
	stage
	machine "two nodes" two-nodes --nodes 2 --timeout 1200
	machine "four nodes" four-nodes --nodes 4 --cpus 3 --huge 24 --timeout 1200
	machine "a page of 1 GiB" giant --mem 2048 --append 'hugepagesz=1G hugepages=1:1' --timeout 1200
	;;
fresh)
	echo "# machine: the chroot"
	child "$here/fresh.sh" || failed=1
	;;
*)
	echo "suite.sh: container, trixie, vm or fresh; not '$suite'" >&2
	exit 2
	;;
esac
exit "$failed"
}
