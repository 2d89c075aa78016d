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

run_cases
