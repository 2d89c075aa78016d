# Inside - what the cases in a machine of their own have in common: the installed tree, users, a
# daemon with a configuration.
# shellcheck shell=bash
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

# What the unit has logged since the machine came up; entries of one priority with a number.
logged() {
	journalctl --quiet --no-pager -o cat -u varbosd.service ${1:+"--priority=$1..$1"}
}
