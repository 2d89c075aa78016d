# Two nodes of 2 GiB; one page of 1 GiB, on node 1.
# shellcheck shell=bash
# shellcheck source=tests/vm/inside.sh
. /share/inside.sh

# pool NODE: how many pages of 1 GiB are reserved there.
pool() {
	cat "/sys/devices/system/node/node$1/hugepages/hugepages-1048576kB/nr_hugepages"
}

test_the_boot_unit_finds_the_page_of_1_gib() {
	install_tree
	is "$(pool 0) $(pool 1)" "0 1" "the pools"
	mkdir -p /etc/varbos
	echo '1G 1 1' >/etc/varbos/hugepages.conf
	systemctl start varbos-hugepages
	is "$(show ActiveState varbos-hugepages)" active ActiveState
}

test_the_boot_unit_says_how_to_get_a_page_of_1_gib_that_is_not_there() {
	echo '1G 3 1' >/etc/varbos/hugepages.conf
	refused systemctl restart varbos-hugepages
	has "$(systemctl status --no-pager varbos-hugepages || true)" \
		'node 1: 3 pages of 1G asked, [12] there.*hugepagesz=1G hugepages=1:3'
	rm /etc/varbos/hugepages.conf
	systemctl reset-failed varbos-hugepages
}

test_the_daemon_sees_the_page_and_serves_a_small_region_from_the_next_rung() {
	with --size 64M --pages auto
	is "$(status PAGE)" 2097152 "a page"
	is "$(pool 0) $(pool 1)" "0 1" "the pools"
	hold alice small $((1 << 20))
	has "$(varbosctl numa --json)" '"giant_total": ?1073741824'
	let_go small
}

test_a_region_of_one_such_page_has_the_rest_in_the_next_size() {
	with --size 1536M --pages 1G --memory.small 512M
	is "$(status PAGE)" 4096 "a page"
	has "$(status 'LARGE PAGES')" '^1 GiB in pages of 1 GiB, 0 B committed, for spaces of 1 GiB'
	has "$(status 'SMALL PAGES BECAUSE')" '512 MiB asked in 2 MiB pages'
	has "$(systemctl status --no-pager varbosd)" \
		'Status: "1 GiB in pages of 1 GiB and 512 MiB in pages of 4 KiB'
	is "$(cat /sys/kernel/mm/hugepages/hugepages-1048576kB/resv_hugepages)" 1 "pages held"
}

# page_of ADDRESS: of the mapping of $HELD that it is in, KiB.
page_of() {
	awk -v at="$1" 'function hex(text, n, i) {
			for (i = 1; i <= length(text); i++)
				n = n * 16 + index("0123456789abcdef", substr(text, i, 1)) - 1
			return n
		}
		/^[0-9a-f]+-[0-9a-f]+ / { split($1, ends, "-"); sub(/^0x/, "", at)
			inside = hex(ends[1]) <= hex(at) && hex(at) < hex(ends[2]) }
		/^KernelPageSize:/ && inside { print $2 }' "/proc/$HELD/smaps"
}

test_a_space_that_reaches_it_lies_in_the_page_of_1_gib() {
	local address
	varbosctl spaces create large --limit 1G --client-limit 1G --mode 666
	hold alice large $((4 << 20)) count=2
	is "$(lies_on 2097152 $((4 << 20)) | sort -u)" "1:2" "where it lies"
	address=$(sed -n 's/^at //p' /tmp/held | head -n1)
	is "$(page_of "$address")" 1048576 "KiB of its page"
	has "$(status 'LARGE PAGES')" '1 GiB committed'
	has "$(varbosctl numa --json)" '"large_committed": ?1073741824'
	is "$(cat /sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages)" 0 "pages free"
	let_go large
}

test_the_smaller_space_beside_it_lies_in_the_next_size() {
	local address
	varbosctl spaces create small --limit 64M --mode 666
	hold alice small $((4 << 20))
	address=$(sed -n 's/^at //p' /tmp/held | head -n1)
	is "$(page_of "$address")" 4 "KiB of its page"
	let_go small
	varbosctl spaces remove small
}

test_what_the_page_of_1_gib_has_no_room_for_is_refused_with_both_sizes() {
	has "$(refused varbosctl spaces create more --limit 1G)" \
		'1 GiB asked, 0 B left in pages of 1 GiB.*512 MiB in pages of 4 KiB'
}

# Of the page of 1 GiB.
nothing_is_committed() {
	status 'LARGE PAGES' | grep -F ' 0 B committed'
}

test_the_page_comes_back_and_is_zero_for_the_next() {
	varbosctl spaces remove large
	eventually 60 nothing_is_committed
	varbosctl spaces create again --limit 1G --mode 666
	hold alice again $((4 << 20))
	is "$(lies_on 2097152 $((4 << 20)))" "1:2" "where it lies"
	let_go again
	varbosctl spaces remove again
}

test_more_pages_of_1_gib_than_there_are_is_refused_with_the_figures_of_each_node() {
	refused with --size 4G --pages 1G
	will_log 'HugePagesUnavailable: 3 GiB asked in 1 GiB pages, 1 GiB free in the pool'
	will_log 'node 0: [12] GiB wanted, 0 B of 0 B free in its pool; echo [12] > .*/node0/.*1048576kB'
	will_log 'node 1: [12] GiB wanted, 1 GiB of 1 GiB free in its pool; echo [12] > .*/node1/'
	will_log 'hugepagesz=1G hugepages=0:[12],1:[12]'
}

run_cases
