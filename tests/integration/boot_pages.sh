#!/bin/sh
# What varbos-hugepages.service runs at boot: it reserves what hugepages.conf asks of each node, and
# fails, with the numbers, where the kernel gave fewer. The kernel is a folder here; a pool of which
# nothing can be had is /dev/null, one that gives some is behind an echo of our own. Argument: the
# program.
set -eu
program=$1
folder=$(mktemp -d /tmp/varbos-boot-pages-XXXXXX)
trap 'rm -rf "$folder"' EXIT
nodes=$folder/sys/devices/system/node
failed=0 cases=0 kernel=

fail() {
	echo "$name: $*"
	failed=1
}

# machine NODE...: each has a pool of 2 MiB pages; the first one of 1 GiB, too.
machine() {
	rm -rf "$folder/sys"
	for node; do
		mkdir -p "$nodes/node$node/hugepages/hugepages-2048kB"
		echo 0 >"$nodes/node$node/hugepages/hugepages-2048kB/nr_hugepages"
		: >"$nodes/node$node/compact"
	done
	mkdir "$nodes/node$1/hugepages/hugepages-1048576kB"
	echo 0 >"$nodes/node$1/hugepages/hugepages-1048576kB/nr_hugepages"
	echo "$*" | tr ' ' , >"$nodes/online"
}

pool() {
	echo "$nodes/node$1/hugepages/hugepages-${2:-2048}kB/nr_hugepages"
}

# conf NAME STATUS LINE...: with that configuration the program ends so.
conf() {
	name=$1 wanted=$2 status=0
	shift 2
	cases=$((cases + 1))
	printf '%s\n' "$@" >"$folder/conf"
	${kernel:+env BASH_ENV="$kernel" bash} "$program" "$folder/conf" "$folder/sys" \
		>"$folder/out" 2>"$folder/err" || status=$?
	[ $status = "$wanted" ] || fail "ended with $status, not $wanted: $(cat "$folder/err")"
	[ "$wanted" = 0 ] || [ -s "$folder/err" ] || fail "failed without a word"
}

# has NODE COUNT [KIB]
has() {
	[ "$(cat "$(pool "$1" "${3:-}")")" = "$2" ] ||
		fail "node $1 has $(cat "$(pool "$1" "${3:-}")") pages, not $2"
}

says() {
	grep -qF "$1" "$folder/err" || fail "does not say '$1': $(cat "$folder/err")"
}

machine 0 1 2
conf "each node gets what is asked of it" 0 "# comment" "" "2M 8 0" "2M 3 1-2" "1G 2 0"
has 0 8 && has 1 3 && has 2 3 && has 0 2 1048576
conf "all is each node there is" 0 "2M 9 all"
has 0 9 && has 1 9 && has 2 9
conf "nothing asked is nothing done" 0 "# nothing"
has 0 9
conf "who has more keeps it" 0 "2M 4 0,2"
has 0 9 && has 2 9

machine 0 1
ln -sf /dev/null "$(pool 1)"
conf "a node that gives fewer fails, by its numbers" 1 "2M 6 0" "2M 5 1"
has 0 6
says "$folder/conf:2: node 1: 5 pages of 2M asked, 0 there"
says "hugepagesz=2M hugepages=1:5"
[ "$(cat "$nodes/node1/compact")" = 1 ] || fail "memory was not compacted before giving up"
[ ! -s "$nodes/node0/compact" ] || fail "memory was compacted where it was not needed"

# What the program writes into a pool is cut down to what the kernel has: node 0 has 60 pages and
# never more, node 1 60 until its memory was compacted.
cat >"$folder/kernel" <<'END'
echo() {
	written=$(readlink "/proc/$$/fd/1")
	case $written in
	*/node0/*/nr_hugepages) builtin echo $(($1 < 60 ? $1 : 60)) ;;
	*/node1/*/nr_hugepages)
		if [ -s "${written%/hugepages/*}/compact" ]; then
			builtin echo "$1"
		else
			builtin echo $(($1 < 60 ? $1 : 60))
		fi
		;;
	*) builtin echo "$@" ;;
	esac
}
END
kernel=$folder/kernel
machine 0 1
conf "of a part that was given the numbers are said, and the part is kept" 1 "2M 100 all"
has 0 60 && has 1 100
says "$folder/conf:1: node 0: 100 pages of 2M asked, 60 there"
grep -qx "node 1: 100 pages of 2M reserved" "$folder/out" || fail "node 1: $(cat "$folder/out")"
[ "$(wc -l <"$folder/err")" = 1 ] || fail "says more: $(cat "$folder/err")"
conf "a part that is enough is enough" 0 "2M 60 all"
kernel=

machine 0 2
conf "a node that is not there is named, and those that are" 1 "2M 1 1"
says "there is no node 1; the nodes are 0,2"
conf "a page size that the machine lacks is named" 1 "1G 1 2"
says "node 2 has no pages of 1G"

machine 0 1
for line in "4M 1 0" "2m 1 0" "2M x 0" "2M -1 0" "2M" "2M 99999999999 0" "2M 1" "2M 1 x" "2M 1 0,x" \
	"2M 1 0-" "2M 1 -3" "2M 1 0-1-2" "2M 1 1-0" "2M 1 00" "2M 1 0 1" "2M 1 0,,1" "2M 1 nodes"; do
	conf "mistake '$line'" 1 "2M 7 0" "$line"
	says "$folder/conf:2: "
	has 0 0 # nothing of such a file is done
done
printf '2M 5 0' >"$folder/conf"
name="a last line without an end" cases=$((cases + 1))
"$program" "$folder/conf" "$folder/sys" >/dev/null || fail "failed"
has 0 5
rm "$folder/conf"
name="no file" cases=$((cases + 1))
! "$program" "$folder/conf" "$folder/sys" >/dev/null 2>&1 || fail "did not fail"

echo "$cases cases"
exit $failed
