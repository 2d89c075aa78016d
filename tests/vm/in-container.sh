# The suite `container`: what an operator does with the service, and what its users meet, under a
# real systemd. The cases are one story; each begins where the one before it has ended.
# shellcheck shell=bash
# shellcheck source=tests/vm/inside.sh
. /share/inside.sh

gone() {
	! kill -0 "$1" 2>/dev/null
}

test_what_is_installed_makes_users_folders_and_units() {
	install_tree
	id varbos
	getent group varbos-clients
	is "$(stat -c '%U:%G %a' /run/varbos)" "varbos:varbos-clients 755" /run/varbos
	systemctl cat varbosd.service varbosd.socket varbos-hugepages.service >/dev/null
	is "$(systemctl --failed --quiet --plain --no-legend)" "" "what has failed"
}

test_start_returns_when_the_daemon_is_ready() {
	is "$(show Type)" notify Type
	mkdir -p /etc/varbos
	systemctl enable --quiet --now varbosd.socket varbosd.service
	is "$(show ActiveState)" active ActiveState
	varbosctl ping -n1
	is "$(ps -o user= -p "$(daemon_pid)")" varbos "the daemon's user"
}

test_status_shows_what_the_daemon_says_of_itself() {
	local said
	said=$(systemctl status --no-pager varbosd)
	has "$said" 'Status: "256 MiB in pages of (4 KiB|2 MiB), .* used; spaces 0, sessions [01]"'
}

test_the_socket_is_for_the_group_alone() {
	is "$(stat -c '%G %a' "$SOCKET")" "varbos-clients 660" "$SOCKET"
	is "$(stat -c '%G %a' "$SOCKET.stats")" "varbos-clients 640" "$SOCKET.stats"
}

test_a_user_of_the_group_allocates() {
	as alice varbosctl spaces create photos --limit 32M
	as alice varbosctl demo
	hold alice photos 1048576
	is "$(used photos)" 1048576 "used of photos"
	kill -KILL "$HELD"
}

test_a_user_outside_the_group_is_told_what_to_do() {
	local said
	said=$(refused as mallory varbosctl status)
	has "$said" 'Permission denied'
	has "$said" 'usermod -aG varbos-clients mallory'
	said=$(refused as mallory vm-hold photos 4096)
	has "$said" 'VARBOS_E_PERMISSION.*usermod -aG varbos-clients mallory'
	said=$(refused as mallory varbosctl stats)
	has "$said" 'usermod -aG varbos-clients mallory'
}

test_another_user_of_the_group_cannot_open_a_private_space() {
	local said
	said=$(refused as bob vm-hold photos 4096)
	has "$said" 'VARBOS_E_PERMISSION'
	said=$(refused as bob varbosctl spaces remove photos)
	eventually 60 is_used photos 0 # what the former case killed may have gone just now
}

test_what_a_killed_client_held_comes_back() {
	eventually 60 is_used photos 0
	hold alice photos 2097152
	is "$(used photos)" 2097152 "used of photos"
	kill -KILL "$HELD"
	eventually 60 is_used photos 0
}

test_owner_reader_and_stranger_get_what_is_theirs_and_nothing_else() {
	ISOLATION_SOCKET=$SOCKET ISOLATION_DAEMON=$(daemon_pid) ISOLATION_GROUP=varbos-clients \
		ISOLATION_TABLE=/share/ARCHITECTURE.md CK_VERBOSITY=verbose vm-isolation
	systemctl is-active varbosd
}

test_a_client_cannot_signal_or_trace_the_daemon_of_another_user() {
	refused as alice kill -TERM "$(daemon_pid)"
	refused as alice ls "/proc/$(daemon_pid)/fd/"
	systemctl is-active varbosd
}

test_the_exposure_is_at_most_one() {
	local said
	said=$(systemd-analyze security --no-pager varbosd.service | tail -n1)
	echo "$said"
	has "$said" 'exposure level for varbosd.service: (0\.[0-9]|1\.0) '
}

# logs_at_one_of PATTERN PRIORITY...
logs_at_one_of() {
	local priority
	for priority in "${@:2}"; do
		! logs "$1" "$priority" || return 0
	done
	return 1
}

test_log_lines_have_their_priorities() {
	systemctl restart varbosd
	will_log 'ending: SIGTERM' info
	eventually 60 logs_at_one_of 'serving|pages|took up' warning notice
	hasnt "$(logged)" '^<[0-7]>'
	hasnt "$(logged)" '^varbosd: (error|warning|notice|info): '
}

test_stop_leaves_no_socket_that_lies_and_no_daemon() {
	local pid
	pid=$(daemon_pid)
	systemctl stop varbosd.service varbosd.socket
	is "$(show ActiveState)" inactive ActiveState
	is "$(show Result)" success Result
	eventually 60 gone "$pid"
	[[ ! -e $SOCKET ]] || fail "$SOCKET is still there"
	[[ ! -e $SOCKET.stats ]] || has "$(varbosctl stats 2>&1 || true)" 'stopped|ended|ago|old'
	has "$(refused as alice varbosctl status)" "no daemon answers"
}

test_the_first_client_starts_the_daemon_through_its_socket() {
	systemctl start varbosd.socket
	is "$(show ActiveState)" inactive "ActiveState before"
	as alice varbosctl ping -n1
	is "$(show ActiveState)" active "ActiveState after"
}

# the_manager_logs PATTERN: about the unit.
the_manager_logs() {
	journalctl --quiet --no-pager -o cat -u varbosd.service _PID=1 | grep -E -- "$1"
}

test_a_daemon_that_hangs_is_started_again_by_the_watchdog() {
	local pid
	dropin '[Service]' 'WatchdogSec=5'
	systemctl restart varbosd
	pid=$(daemon_pid)
	kill -STOP "$pid"
	eventually 60 gone "$pid"
	eventually 60 as alice varbosctl ping -n1
	[[ $(daemon_pid) != "$pid" ]] || fail "the same process"
	eventually 60 the_manager_logs 'Watchdog timeout'
	no_dropin
	systemctl restart varbosd
}

test_a_daemon_that_was_killed_is_started_again() {
	local pid
	pid=$(daemon_pid)
	kill -KILL "$pid"
	eventually 60 as alice varbosctl ping -n1
	[[ $(daemon_pid) != "$pid" ]] || fail "the same process"
}

# said_more_than LINES: has who holds it said anything since?
said_more_than() {
	(($(wc -l </tmp/held) > $1))
}

# outlived: there is what alice's client holds, which reads it and goes on, and what is cached.
outlived() {
	local lines
	eventually 60 as alice varbosctl ping -n1
	eventually 60 is_used kept 2097152
	HELD=$(head -n1 /tmp/held)
	lines=$(wc -l </tmp/held)
	kill -USR1 "$HELD" || fail "who holds it has ended"
	eventually 60 said_more_than "$lines"
	is "$(tail -n1 /tmp/held)" "still held" "what who holds it says"
	eventually 60 is_used kept 2097152
	is "$(as alice varbosctl get values words greeting)" "good morning" "the value"
	hasnt "$(logged)" 'lost'
}

test_a_restart_keeps_what_is_held_and_what_is_cached() {
	as alice varbosctl spaces create kept --limit 32M
	as alice varbosctl spaces create values --limit 8M
	as alice varbosctl caches create values words --capacity 4M
	printf 'good morning' >/tmp/greeting
	as alice varbosctl put values words greeting /tmp/greeting
	hold alice kept 2097152
	outlived
	systemctl restart varbosd
	outlived
}

test_a_killed_daemon_keeps_what_is_held_and_what_is_cached() {
	local pid
	for _ in 1 2 3; do
		pid=$(daemon_pid)
		kill -KILL "$pid"
		eventually 60 gone "$pid"
		outlived
	done
}

test_one_that_hangs_keeps_what_is_held_and_what_is_cached() {
	local pid
	dropin '[Service]' 'WatchdogSec=5'
	systemctl restart varbosd
	pid=$(daemon_pid)
	kill -STOP "$pid"
	eventually 60 gone "$pid"
	outlived
	no_dropin
	systemctl restart varbosd
	outlived
}

test_a_service_manager_that_executes_itself_keeps_what_is_held_and_what_is_cached() {
	local pid
	pid=$(daemon_pid)
	systemctl daemon-reexec
	eventually 60 systemctl is-active varbosd # nobody answers meanwhile
	is "$(daemon_pid)" "$pid" "the daemon's pid"
	outlived
	kill -KILL "$pid"
	eventually 60 gone "$pid"
	outlived
}

test_an_upgrade_keeps_the_process_and_what_is_held_and_what_is_cached() {
	local pid
	pid=$(daemon_pid)
	cp /usr/local/sbin/varbosd /usr/local/sbin/varbosd.new
	mv /usr/local/sbin/varbosd.new /usr/local/sbin/varbosd
	refused as alice varbosctl upgrade
	varbosctl upgrade
	is "$(daemon_pid)" "$pid" "the daemon's pid"
	is "$(show ActiveState)" active ActiveState
	outlived
	systemctl restart varbosd
	outlived
}

if (($(systemctl --version | sed -n 's/^systemd \([0-9]*\).*/\1/p') >= 254)); then
	test_stop_and_start_keep_what_is_held_and_what_is_cached() {
		systemctl stop varbosd.service varbosd.socket
		is "$(show SubState)" dead-resources-pinned SubState
		[[ ! -e $SOCKET ]] || fail "$SOCKET is still there"
		has "$(refused as alice varbosctl status)" "no daemon answers"
		systemctl start varbosd.service
		outlived
	}

	test_a_stop_of_the_service_alone_keeps_it_for_the_start_by_the_next_client() {
		local pid
		pid=$(daemon_pid)
		systemctl stop varbosd.service
		eventually 60 gone "$pid"
		outlived
		is "$(show ActiveState)" active ActiveState
	}

	test_a_start_with_a_mistake_keeps_it_for_the_start_without() {
		echo mistake >$CONF
		refused systemctl restart varbosd
		is "$(show ActiveState)" failed ActiveState
		rm $CONF
		systemctl reset-failed varbosd.service varbosd.socket
		systemctl start varbosd.socket varbosd.service
		outlived
	}

	test_cleaning_ends_what_stop_and_start_would_keep() {
		systemctl stop varbosd.service varbosd.socket
		systemctl clean --what=fdstore varbosd.service
		is "$(show NFileDescriptorStore)" 0 NFileDescriptorStore
		systemctl start varbosd.service
		eventually 60 as alice varbosctl ping -n1
		hasnt "$(varbosctl spaces)" '^(kept|values)'
		kill -KILL "$(head -n1 /tmp/held)"
	}
else
	test_stop_and_start_begin_anew_before_systemd_254() {
		systemctl stop varbosd.service varbosd.socket
		systemctl start varbosd.service
		eventually 60 as alice varbosctl ping -n1
		hasnt "$(varbosctl spaces)" '^(kept|values)'
		kill -KILL "$(head -n1 /tmp/held)"
	}
fi

test_reload_takes_a_changed_key() {
	printf '[log]\nlevel = "info"\n' >$CONF
	systemctl restart varbosd
	printf '[log]\nlevel = "error"\n' >$CONF
	systemctl reload varbosd
	will_log 'log\.level: "info" -> "error"'
	is "$(show ActiveState)" active ActiveState
	as alice varbosctl ping -n1
}

test_reload_with_a_mistake_keeps_the_old_configuration_and_says_where_it_is() {
	local pid
	pid=$(daemon_pid)
	printf '[log]\nlevle = "info"\n' >$CONF
	systemctl reload varbosd || true
	will_log 'varbosd\.toml:2:1.*levle.*level'
	is "$(daemon_pid)" "$pid" "the daemon"
	is "$(show ActiveState)" active ActiveState
	as alice varbosctl ping -n1
}

test_a_start_with_a_mistake_fails_once_and_says_where_it_is() {
	refused systemctl restart varbosd
	is "$(show ExecMainStatus)" 2 "the exit status"
	will_log 'varbosd\.toml:2' err
	rm $CONF
	systemctl reset-failed varbosd.service varbosd.socket
	systemctl start varbosd
}

test_a_users_own_service_runs_without_root() {
	local runtime
	loginctl enable-linger alice
	runtime=/run/user/$(id -u alice)
	eventually 60 test -S "$runtime/systemd/private"
	as alice "XDG_RUNTIME_DIR=$runtime" systemctl --user start varbosd.socket
	as alice "XDG_RUNTIME_DIR=$runtime" varbosctl status >/tmp/own
	has "$(cat /tmp/own)" "^USER	alice$"
	has "$(cat /tmp/own)" "^ISOLATES USERS	no$"
	as alice "XDG_RUNTIME_DIR=$runtime" systemctl --user is-active varbosd.service
	as alice "XDG_RUNTIME_DIR=$runtime" systemctl --user stop varbosd.service varbosd.socket
	loginctl disable-linger alice
}

run_cases
