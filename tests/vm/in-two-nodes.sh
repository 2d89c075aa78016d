# Two nodes of 512 MiB with hugepages on each: the ladder of page sizes, hugepages at boot, cgroup v2.
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
	as alice varbosctl ping -n1
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
	has "$(logged warning)" 'falling back to pages of 4 KiB: 256 MiB asked'
}

test_an_explicit_size_fails_with_the_figures_and_the_command() {
	local said
	refused with --size 256M --pages 2M
	said=$(logged err)
	has "$said" 'hugepages unavailable: 256 MiB asked in 2 MiB pages, 168 MiB free'
	has "$said" 'echo [0-9]+ > '
}

test_a_region_beyond_the_cgroups_limit_is_refused_with_the_figures() {
	local said
	UNIT=MemoryMax=128M refused with --size 256M --pages 4K
	said=$(logged err)
	has "$said" 'asked 256 MiB, available 1[0-9.]+ MiB'
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
	has "$said" 'VARBOS_E_MEMORY.*40 MiB asked, [0-9.]+ MiB (free|available)'
	is "$(oom_kills)" 0 "processes that the kernel killed"
	is "$(daemon_pid)" "$pid" "the daemon"
	kill -0 "$HELD"
	kill -KILL "$HELD"
	as alice varbosctl spaces remove --force grows
}

run_cases
