#!/bin/sh
# hugepages CONF [SYS]: reserves the hugepages that CONF lists (it says how), on each NUMA node at
# least as many as it says, and fails if the kernel had fewer. SYS stands for /sys.
set -eu
conf=$1 nodes=${2:-/sys}/devices/system/node
failed=0

say() {
	echo "varbos-hugepages: $*" >&2
	failed=1
}

# The numbers of LIST (0, 0-3, 0,2); nothing if it is no list.
numbers() (
	IFS=,
	found=
	for run in $1; do
		first=${run%-*} last=${run#*-}
		for end in "$first" "$last"; do
			case $end in
			'' | *[!0-9]* | 0?* | ????*) exit 0 ;;
			esac
		done
		while [ "$first" -le "$last" ]; do
			found="$found $first"
			first=$((first + 1))
		done
	done
	echo "$found"
)

count() {
	number=
	read -r number <"$1" || :
	echo "${number:-0}"
}

# reserve WHERE NODE SIZE COUNT
reserve() {
	size=$3 wanted=$4
	case $size in
	2M) pool=$nodes/node$2/hugepages/hugepages-2048kB ;;
	1G) pool=$nodes/node$2/hugepages/hugepages-1048576kB ;;
	esac
	if [ ! -e "$nodes/node$2" ]; then
		say "$1: there is no node $2; the nodes are $(count "$nodes/online")"
		return
	fi
	if [ ! -e "$pool" ]; then
		say "$1: node $2 has no pages of $size; this machine's processor or kernel lacks them"
		return
	fi
	if [ "$(count "$pool/nr_hugepages")" -ge "$wanted" ]; then
		echo "node $2: $(count "$pool/nr_hugepages") pages of $size, $wanted asked"
		return
	fi
	# The second try is after what is in the way has been moved.
	for try in 1 2; do
		echo "$wanted" >"$pool/nr_hugepages" || :
		if [ "$(count "$pool/nr_hugepages")" -ge "$wanted" ]; then
			echo "node $2: $wanted pages of $size reserved"
			return
		fi
		[ $try = 2 ] || echo 1 >"$nodes/node$2/compact" 2>/dev/null || :
	done
	say "$1: node $2: $wanted pages of $size asked, $(count "$pool/nr_hugepages") there:" \
		"the kernel found no more memory in one piece; ask for fewer, or reserve them on the" \
		"kernel's command line: hugepagesz=$size hugepages=$2:$wanted"
}

# Twice: nothing is reserved by a file that has a mistake in it.
for pass in check reserve; do
	line=0
	while read -r size wanted list rest || [ -n "$size" ]; do
		line=$((line + 1)) where=$conf:$line
		case $size in
		'' | '#'*) continue ;;
		2M | 1G) ;;
		*)
			say "$where: '$size' is not a size of pages; 2M and 1G are"
			continue
			;;
		esac
		case $wanted in
		'' | *[!0-9]* | ???????????*)
			say "$where: '$wanted' is not a number of pages"
			continue
			;;
		esac
		[ "$list" != all ] || list=$(count "$nodes/online")
		if [ -z "$(numbers "$list")" ] || [ -n "$rest" ]; then
			say "$where: '$list${rest:+ $rest}' is not a list of nodes; 0, 0-3, 0,2 and all are"
			continue
		fi
		if [ $pass = reserve ]; then
			for node in $(numbers "$list"); do
				reserve "$where" "$node" "$size" "$wanted"
			done
		fi
	done <"$conf"
	[ $failed = 0 ] || exit 1
done
