# Four nodes, the last without a processor; each pair at a distance of its own: from node 1 it is
# nearest to 0, then 2, then 3; from node 2 to 0, then 1, then 3; from node 3 to 0, then 1, then 2.
# shellcheck shell=bash
# shellcheck source=tests/vm/inside.sh
. /share/inside.sh

MIB=$((1 << 20))
PAGE=2097152

# lies BYTES: what it lies on, in the order in which it was given, without repetition.
lies() {
	lies_on $PAGE "$1" | sed 's/:.*//' | uniq | paste -sd' '
}

test_a_daemon_on_hugepages_of_four_nodes() {
	install_tree
	with --size 192M --pages 2M
	is "$(status PAGE)" $PAGE "a page"
}

test_a_node_without_processors_can_be_asked_for() {
	is "$(cat /sys/devices/system/node/node3/cpulist)" "" "processors of node 3"
	varbosctl spaces create far --limit 32M --numa bind:3 --mode 666
	hold alice far $((4 * MIB)) count=2
	is "$(lies $((4 * MIB)))" 3 "where it lies"
	let_go far
	varbosctl spaces remove far
}

test_each_node_can_be_bound_to() {
	local node
	varbosctl spaces create any --limit 32M --mode 666
	for node in 0 1 2 3; do
		hold alice any $((2 * MIB)) numa=bind nodes=$((1 << node))
		is "$(lies $((2 * MIB)))" $node "where it lies"
		let_go any
	done
	varbosctl spaces remove any
}

test_three_of_four_nodes_are_interleaved() {
	varbosctl spaces create level --limit 32M --numa interleave:0,2-3 --mode 666
	hold alice level $((2 * MIB)) count=6
	is "$(lies_on $PAGE $((2 * MIB)) | sed 's/:.*//' | sort | uniq -c | awk '{ print $2 "x" $1 }' |
		paste -sd' ')" "0x2 2x2 3x2" "where they lie"
	let_go level
	varbosctl spaces remove level
}

test_preferred_memory_spills_to_the_nearest_node_first() {
	varbosctl spaces create wished --limit 128M --client-limit 128M --numa preferred:2 --mode 666
	hold alice wished $((2 * MIB)) count=50
	is "$(lies $((2 * MIB)))" "2 0 1" "where they lie"
	let_go wished
	varbosctl spaces remove wished
}

test_local_memory_spills_to_the_nearest_node_first() {
	varbosctl spaces create near --limit 128M --client-limit 128M --numa local --mode 666
	UNDER="numactl --cpunodebind=1" hold alice near $((2 * MIB)) count=50
	is "$(lies $((2 * MIB)))" "1 0 2" "where they lie"
	let_go near
	varbosctl spaces remove near
}

test_nodes_that_are_not_there_are_refused_by_name() {
	local said
	said=$(refused varbosctl spaces create nowhere --numa bind:7)
	has "$said" 'there is no node 7; there are 0-3'
}

run_cases
