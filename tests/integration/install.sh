#!/bin/sh
# What is installed is complete: the header, the library by its soname, the pkg-config file, both
# programs, units that start what is there, users and folders, manual, completion, examples. Arguments: the source root, the build root, and what else the compiler is to be told.
set -eu
root=$1 built=$2
shift 2
folder=$(mktemp -d /tmp/varbos-install-XXXXXX)
pid=
cleanup() {
	[ -z "$pid" ] || { kill "$pid" 2>/dev/null && wait "$pid"; } || :
	rm -rf "$folder"
}
trap cleanup EXIT
fail() {
	echo "$*" >&2
	exit 1
}
installed() {
	found=$(find "$folder/to" -name "$1" -path "$2")
	[ -e "$found" ] || fail "$1 is not installed, or twice: $found"
	echo "$found"
}

meson install -C "$built" --no-rebuild --quiet --destdir "$folder/to"
daemon=$(installed varbosd '*/sbin/*')
ctl=$(installed varbosctl '*/bin/*')
library=$(installed libvarbos.so.0 '*')
for header in varbos arena pool scope source; do
	installed $header.h '*/include/varbos/*' >/dev/null
done
description=$(installed varbos.pc '*/pkgconfig/*')
readelf -d "$library" | grep -q 'SONAME.*\[libvarbos\.so\.0\]' || fail "$library: another soname"

for unit in varbosd.service varbosd.socket varbos-hugepages.service; do
	installed $unit '*/lib/systemd/system/*' >/dev/null
done
for unit in varbosd.service varbosd.socket; do
	installed $unit '*/lib/systemd/user/*' >/dev/null
done
started=0
for unit in $(find "$folder/to" -path '*/lib/systemd/*' -name '*.service'); do
	! grep '@[A-Z]*@' "$unit" || fail "$unit: not filled in"
	program=$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$unit")
	[ -x "$folder/to$program" ] || fail "$unit starts $program, which is not installed"
	started=$((started + 1))
done
[ $started = 3 ] || fail "$started services, not 3"
installed varbos.conf '*/lib/sysusers.d/*' >/dev/null
installed varbos.conf '*/lib/tmpfiles.d/*' >/dev/null
installed hugepages.conf '*/doc/varbos/examples/*' >/dev/null
example=$(installed varbosd.toml '*/doc/varbos/examples/*')
"$daemon" --check-config --no-config --socket x --config "$example" ||
	fail "$example: varbosd does not take it"
for page in varbosctl.1 varbosd.8 varbosd.toml.5 varbos.7; do
	file=$(installed $page "*/man/man${page##*.}/*")
	! grep '^@' "$file" || fail "$file: not filled in"
done
for program in varbosctl varbosd; do
	installed $program '*/bash-completion/completions/*' >/dev/null
done

export PKG_CONFIG_PATH="${description%/*}" PKG_CONFIG_SYSROOT_DIR="$folder/to"
# A prefix of /usr is not the system's here.
export PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1
cp "$root/examples/hello.c" "$folder/"
cd "$folder"
# shellcheck disable=SC2046 # as README.md prints it
${CC:-cc} -o hello hello.c $(pkg-config --cflags --libs varbos) "$@"

export LD_LIBRARY_PATH="${library%/*}" VARBOS_SOCKET="$folder/varbos.sock"
"$daemon" --socket "$VARBOS_SOCKET" --size 64M 2>log &
pid=$!
tries=0
until "$ctl" ping -n1 >/dev/null 2>&1; do
	tries=$((tries + 1))
	[ $tries -lt 600 ] && kill -0 "$pid" || { cat log >&2; fail "no answer to varbosctl"; }
	sleep 0.1
done
said=$(./hello)
[ "$said" = "hello from another process" ] || fail "hello said: $said"
"$ctl" status >/dev/null # which brings the statistics up to date
"$ctl" stats | grep -q '^images' || fail "varbosctl stats does not show the space"
