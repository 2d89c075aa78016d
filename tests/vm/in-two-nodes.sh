# Two nodes of 512 MiB with hugepages on each: the ladder of page sizes, hugepages at boot, cgroup v2,
# and where memory lies.
# shellcheck shell=bash
# shellcheck source=tests/vm/inside.sh
. /share/inside.sh

# pool NODE: how many hugepages are reserved there.
pool() {
	cat "/sys/devices/system/node/node$1/hugepages/hugepages-2048kB/nr_hugepages"
}

oom_kills() {
	sed -n 's/^oom_kill //p' /sys/fs/cgroup/system.slice/varbosd.service/memory.events
}

test_what_is_installed_runs_here() {
	install_tree
	systemctl start varbosd.socket
	as alice varbosctl ping -n1 # it starts the daemon
}

# is_value KEY VALUE: in the cache of the next case.
is_value() {
	[[ $(as alice varbosctl get clocks c "$1" 2>/dev/null) == "$2" ]]
}

is_missing() {
	! as alice varbosctl get clocks c "$1"
}

test_a_clock_that_is_set_back_changes_nothing() {
	local pid
	pid=$(daemon_pid)
	as alice varbosctl spaces create clocks --limit 16M
	as alice varbosctl caches create clocks c --capacity 4M
	printf late >/tmp/late
	as alice varbosctl put clocks c long /tmp/late --ttl 1h
	as alice varbosctl put clocks c short /tmp/late --ttl 5s
	date --set="$(date --date='2 hours ago' '+%F %T')"
	is_value long late || fail "it is gone with the time"
	eventually 180 is_missing short
	as alice varbosctl put clocks c short /tmp/late --ttl 5s
	date --set="$(date --date='4 hours' '+%F %T')"
	is_value long late || fail "it has expired by the time of day"
	eventually 180 is_missing short
	as alice varbosctl ping -n1
	varbosctl stats >/dev/null
	is "$(daemon_pid)" "$pid" "the daemon"
	date --set="$(date --date='2 hours ago' '+%F %T')"
	as alice varbosctl spaces remove clocks
}

test_the_boot_unit_reserves_hugepages_on_each_node() {
	mkdir -p /etc/varbos
	printf '2M 40 0\n2M 44 1\n' >/etc/varbos/hugepages.conf
	systemctl start varbos-hugepages
	is "$(pool 0) $(pool 1)" "40 44" "the pools"
	is "$(show ActiveState varbos-hugepages)" active ActiveState
}

test_the_boot_unit_fails_with_figures_when_a_node_has_too_few() {
	local said
	printf '2M 40 0\n2M 4000 1\n' >/etc/varbos/hugepages.conf
	refused systemctl restart varbos-hugepages
	echo 44 >/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages
	is "$(show Result varbos-hugepages)" exit-code Result
	said=$(systemctl status --no-pager varbos-hugepages || true)
	has "$said" 'hugepages.conf:2: node 1: 4000 pages of 2M asked, [0-9]+ there'
	has "$said" 'hugepagesz=2M hugepages=1:4000'
	is "$(pool 0) $(pool 1)" "40 44" "the pools"
	rm /etc/varbos/hugepages.conf
	systemctl reset-failed varbos-hugepages
}

test_auto_takes_hugepages_while_there_are_enough() {
	with --size 128M --pages auto
	is "$(status PAGE)" 2097152 "a page"
	has "$(systemctl status --no-pager varbosd)" 'Status: "128 MiB in pages of 2 MiB'
}

test_auto_falls_down_the_ladder_and_says_so() {
	with --size 256M --pages auto
	is "$(status PAGE)" 4096 "a page"
	has "$(status 'SMALL PAGES BECAUSE')" '256 MiB asked in 2 MiB pages, 168 MiB free'
	will_log 'falling back to pages of 4 KiB: 256 MiB asked' warning
}

test_an_explicit_size_fails_with_the_figures_of_each_node_and_the_command() {
	refused with --size 256M --pages 2M
	will_log 'HugePagesUnavailable: 256 MiB asked in 2 MiB pages, 168 MiB free' err
	will_log 'node 0: .* wanted, 80 MiB of 80 MiB free in its pool; echo [0-9]+ > .*/node0/'
	will_log 'node 1: .* wanted, 88 MiB of 88 MiB free in its pool; echo [0-9]+ > .*/node1/'
}

test_a_region_beyond_the_cgroups_limit_is_refused_with_the_figures() {
	UNIT=MemoryMax=128M refused with --size 256M --pages 4K
	will_log 'asked 256 MiB, available 1[0-9.]+ MiB' err
	hasnt "$(journalctl -k --no-pager)" 'Out of memory|oom-kill'
}

test_growth_beyond_the_cgroups_limit_is_refused_and_kills_nobody() {
	local pid said
	with --size 256M --pages 4K
	pid=$(daemon_pid)
	as alice varbosctl spaces create grows --limit 64M
	hold alice grows $((16 << 20))
	systemctl set-property --runtime varbosd MemoryMax=48M
	said=$(refused as alice vm-hold grows $((40 << 20)))
	systemctl set-property --runtime varbosd MemoryMax=95%
	echo "$said"
	has "$said" 'VARBOS_E_MEMORY.*40 MiB.* [0-9.]+ MiB available'
	is "$(oom_kills)" 0 "processes that the kernel killed"
	is "$(daemon_pid)" "$pid" "the daemon"
	kill -0 "$HELD"
	kill -KILL "$HELD"
	as alice varbosctl spaces remove --force grows
}

MIB=$((1 << 20))

# The same on either kind of page: each case is a function of the page, and two cases.
space_bound_to_a_node_lies_there() {
	varbosctl spaces create bound --limit 32M --numa bind:1 --mode 666
	hold alice bound $((4 * MIB)) count=2
	is "$(lies_on "$1" $((4 * MIB)) | sort -u)" "1:$((4 * MIB / $1))" "where it lies"
	let_go bound
}

call_overrides_the_policy_of_its_space() {
	hold alice bound $((4 * MIB)) numa=bind nodes=1
	is "$(lies_on "$1" $((4 * MIB)))" "0:$((4 * MIB / $1))" "where it lies"
	let_go bound
	varbosctl spaces remove bound
}

local_memory_lies_where_its_thread_runs() {
	local node
	varbosctl spaces create near --limit 32M --numa local --mode 666
	for node in 0 1; do
		UNDER="numactl --cpunodebind=$node" hold alice near $((2 * MIB))
		is "$(lies_on "$1" $((2 * MIB)))" "$node:$((2 * MIB / $1))" "where it lies"
		let_go near
	done
	varbosctl spaces remove near
}

interleaved_allocations_lie_level_on_their_nodes() {
	varbosctl spaces create level --limit 32M --numa interleave:0-1 --mode 666
	hold alice level $((2 * MIB)) count=6
	is "$(lies_on "$1" $((2 * MIB)) | sort | uniq -c | awk '{ print $1, $2 }' | paste -sd' ')" \
		"3 0:$((2 * MIB / $1)) 3 1:$((2 * MIB / $1))" "where they lie"
	let_go level
	varbosctl spaces remove level
}

preferred_memory_lies_on_the_node_and_spills_when_that_is_full() {
	varbosctl spaces create wished --limit 112M --client-limit 112M --numa preferred:1 --mode 666
	hold alice wished $((2 * MIB)) count=48
	lies_on "$1" $((2 * MIB)) | sort | uniq -c | awk '{ print $1, $2 }' >/tmp/lies
	cat /tmp/lies
	is "$(lies_on "$1" $((2 * MIB)) | head -n1)" "1:$((2 * MIB / $1))" "where the first lies"
	is "$(lies_on "$1" $((2 * MIB)) | tail -n1)" "0:$((2 * MIB / $1))" "where the last lies"
	is "$(lies_on "$1" $((2 * MIB)) | wc -l)" 48 "how many it got"
	kill -0 "$HELD"
	let_go wished
	varbosctl spaces remove wished
}

# Two spaces, so that the node's end is met before the end of a budget.
exhausted_node_answers_with_figures_and_nobody_dies() {
	local first
	varbosctl spaces create narrow --limit 48M --client-limit 48M --numa bind:1 --mode 666
	varbosctl spaces create other --limit 48M --client-limit 48M --numa bind:1 --mode 666
	hold alice other $((2 * MIB)) count=20
	first=$HELD
	hold alice narrow $((2 * MIB)) count=30
	cat /tmp/held
	has "$(cat /tmp/held)" '^alloc: VARBOS_E_MEMORY: .*2 MiB asked.*node 1: 0 B of [0-9.]+ MiB free'
	hasnt "$(cat /tmp/held)" 'node 0'
	is "$(lies_on "$1" $((2 * MIB)) | sort -u)" "1:$((2 * MIB / $1))" "where it lies"
	# Filled to the last byte, and touched: a page too many would have been a SIGBUS.
	kill -0 "$first" "$HELD"
	varbosctl ping -n1
	kill -KILL "$first"
	let_go narrow
	varbosctl spaces remove --force other
	varbosctl spaces remove narrow
}

# A process that opened the space by itself looks at the pages through its own mapping.
each_policy_is_kept_in_the_eyes_of_another_member() {
	local how
	for how in lands call; do
		as alice vm-numa_probe $how bind:1 8 1
		as alice vm-numa_probe $how bind:0-1 8 0-1
		as alice vm-numa_probe $how interleave:0-1 8 0-1
		as alice vm-numa_probe $how preferred:1 8 1
		as alice numactl --cpunodebind=1 vm-numa_probe $how local 8 1
	done
}

test_a_daemon_on_hugepages_of_two_nodes() {
	with --size 128M --pages 2M
	is "$(status PAGE)" 2097152 "a page"
}

test_on_hugepages_a_space_bound_to_a_node_lies_there() {
	space_bound_to_a_node_lies_there 2097152
}

test_on_hugepages_a_call_overrides_the_policy_of_its_space() {
	call_overrides_the_policy_of_its_space 2097152
}

test_on_hugepages_local_memory_lies_where_its_thread_runs() {
	local_memory_lies_where_its_thread_runs 2097152
}

test_on_hugepages_interleaved_allocations_lie_level_on_their_nodes() {
	interleaved_allocations_lie_level_on_their_nodes 2097152
}

test_on_hugepages_preferred_memory_lies_on_the_node_and_spills_when_that_is_full() {
	preferred_memory_lies_on_the_node_and_spills_when_that_is_full 2097152
}

test_on_hugepages_each_policy_is_kept_in_the_eyes_of_another_member() {
	each_policy_is_kept_in_the_eyes_of_another_member
}

test_on_hugepages_an_exhausted_node_answers_with_figures_and_nobody_dies() {
	exhausted_node_answers_with_figures_and_nobody_dies 2097152
}

# What is held of the pools is held by no node: 40 MiB of node 1 that nobody holds are taken.
test_on_hugepages_a_pool_that_strangers_emptied_is_told_and_nobody_dies() {
	local said status=0
	mkdir -p /mnt/pool
	mount -t hugetlbfs none /mnt/pool
	numactl --membind=1 fallocate -l 40M /mnt/pool/taken
	said=$(vm-numa_probe fill bind:1 66)
	echo "$said"
	has "$said" '^node 1: 50331648$'
	hasnt "$said" '^node 0'
	has "$said" '^refused after 48 MiB: VARBOS_E_MEMORY: .*node 1 cannot spare 2 MiB: 0 B available'
	said=$(vm-numa_probe fill preferred:1 80) || status=$?
	echo "$said"
	is "$status" 3 "the status of what is never refused"
	has "$said" '^node 0: 33554432$'
	has "$said" '^node 1: 50331648$'
	umount /mnt/pool
	is "$(varbosctl spaces | tail -n +2)" '' "what is left behind"
}

test_a_daemon_on_small_pages_of_two_nodes() {
	with --size 128M --pages 4K
	is "$(status PAGE)" 4096 "a page"
}

test_on_small_pages_a_space_bound_to_a_node_lies_there() {
	space_bound_to_a_node_lies_there 4096
}

test_on_small_pages_a_call_overrides_the_policy_of_its_space() {
	call_overrides_the_policy_of_its_space 4096
}

test_on_small_pages_local_memory_lies_where_its_thread_runs() {
	local_memory_lies_where_its_thread_runs 4096
}

test_on_small_pages_interleaved_allocations_lie_level_on_their_nodes() {
	interleaved_allocations_lie_level_on_their_nodes 4096
}

test_on_small_pages_preferred_memory_lies_on_the_node_and_spills_when_that_is_full() {
	preferred_memory_lies_on_the_node_and_spills_when_that_is_full 4096
}

test_on_small_pages_each_policy_is_kept_in_the_eyes_of_another_member() {
	each_policy_is_kept_in_the_eyes_of_another_member
}

test_on_small_pages_an_exhausted_node_answers_with_figures_and_nobody_dies() {
	exhausted_node_answers_with_figures_and_nobody_dies 4096
}

run_cases
