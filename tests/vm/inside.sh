# Inside - what the cases in a machine of their own have in common: the installed tree, users, a
# daemon with a configuration.
# shellcheck shell=bash disable=SC2034
# shellcheck source=tests/vm/cases.sh
. /share/cases.sh

PATH=/share/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
SOCKET=/run/varbos/varbos.sock
CONF=/etc/varbos/varbosd.toml

# As a distribution's package would: files, then what they ask of systemd. alice may use the daemon,
# mallory may not.
install_tree() {
	cp -a /share/root/. /
	ldconfig
	systemd-sysusers
	systemd-tmpfiles --create
	systemctl daemon-reload
	useradd --create-home --groups varbos-clients alice
	useradd --create-home bob --groups varbos-clients
	useradd --create-home mallory
}

# as USER COMMAND...: with nothing that root has left in the environment.
as() {
	local user=$1
	shift
	setpriv --reuid "$user" --regid "$user" --init-groups --reset-env env "PATH=$PATH" "$@"
}

# show PROPERTY [UNIT]
show() {
	systemctl show --property="$1" --value "${2:-varbosd.service}"
}

daemon_pid() {
	show MainPID
}

# status FIELD: of `varbosctl status`, in full.
status() {
	varbosctl status | sed -n "s/^$1\t//p"
}

# What the unit has logged since the case began; entries of one priority if named.
logged() {
	journalctl --quiet --no-pager -o cat --since="@$BEGAN" -u varbosd.service \
		${1:+"--priority=$1..$1"}
}

# logs PATTERN [PRIORITY]: is it in there already? The journal takes its time: see `will_log`.
logs() {
	logged "${@:2}" | grep -E -- "$1"
}

# will_log PATTERN [PRIORITY]
will_log() {
	eventually 60 logs "$@"
}

# dropin LINE...: what an operator would write with `systemctl edit varbosd`.
dropin() {
	mkdir -p /etc/systemd/system/varbosd.service.d
	printf '%s\n' "$@" >/etc/systemd/system/varbosd.service.d/test.conf
	systemctl daemon-reload
}

no_dropin() {
	rm -rf /etc/systemd/system/varbosd.service.d
	systemctl daemon-reload
}

# with ARGUMENT...: the daemon starts anew, told this on its command line. Fails if it refuses.
with() {
	dropin '[Service]' ${UNIT:+"$UNIT"} 'ExecStart=' "ExecStart=/usr/local/sbin/varbosd $*"
	systemctl reset-failed varbosd.service varbosd.socket 2>/dev/null || true
	# What the former one kept has the region that it was made with: begin anew.
	systemctl stop varbosd.service varbosd.socket
	systemctl start varbosd
}

# hold USER SPACE BYTES: in the background, $UNDER a program if that is set; its pid in $HELD.
hold() {
	local user=$1
	shift
	rm -f /tmp/held # or what an earlier one has said is taken for this one's
	# shellcheck disable=SC2016,SC2086 # the inner shell's; words
	as "$user" ${UNDER:-} sh -c 'echo $$; exec vm-hold "$@"' sh "$@" >/tmp/held 2>&1 &
	eventually 180 sh -c "grep -q ^held /tmp/held || ! kill -0 $!"
	grep -q '^held' /tmp/held || fail "nothing is held: $(cat /tmp/held)"
	HELD=$(head -n1 /tmp/held)
}

# lies_on PAGE BYTES: on which nodes each thing that $HELD holds lies, a line for each: all its
# pages, as another process sees them.
lies_on() {
	sed -n 's/^at //p' /tmp/held | while read -r address; do
		vm-where "$HELD" "$address" "$2" "$1"
	done
}

# Nothing is held any more, and the memory is back.
let_go() {
	kill -KILL "$HELD"
	eventually 60 is_used "$1" 0
}

# used SPACE: bytes of it that are allocated.
used() {
	varbosctl spaces | awk -F'\t' -v space="$1" 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i }
		$1 == space { print $at["USED"] }'
}

is_used() {
	[[ $(used "$1") == "$2" ]]
}
