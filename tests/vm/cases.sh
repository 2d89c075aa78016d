# Cases - what a script of tests is made of, in the container and in the virtual machine.
#
# A case is a function `test_SENTENCE`; `run_cases` runs each in the order of the file, in a shell
# of its own that ends with the first command that fails, and says what became of it in TAP:
#
# C1  The number of cases is said before the first one: whoever is missing at the end has failed.
# C2  What a case wrote is shown only if it failed.
# C3  A case that cannot be tried here says why through `skip`, and CI counts that as a failure.
# shellcheck shell=bash disable=SC2034

# What is wrong, and the end of the case.
fail() {
	printf 'failed: %s\n' "$*" >&2
	exit 1
}

skip() {
	printf 'SKIPPED: %s\n' "$*" >&2
	exit 77
}

# is FOUND WANTED WHAT
is() {
	[[ $1 == "$2" ]] || fail "${3:-it} is '$1', not '$2'"
}

# has TEXT PATTERN: an extended regular expression, in any of the lines.
has() {
	grep -qE -- "$2" <<<"$1" || fail "there is no '$2' in: $1"
}

hasnt() {
	grep -qE -- "$2" <<<"$1" || return 0
	fail "there is a '$2' in: $1"
}

# refused COMMAND...: it has to fail; what it said is printed.
refused() {
	local said status=0
	said=$("$@" 2>&1) || status=$?
	printf '%s\n' "$said"
	((status)) || fail "this went well, and should not: $*"
	((status < 126)) || fail "this could not be run (status $status): $*"
}

# eventually SECONDS COMMAND...: until it succeeds; generous deadlines cost nothing.
eventually() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		((SECONDS < end)) || fail "this did not become true: $*"
		sleep 0.1
	done
}

# run_cases FILE: the functions test_* that it defines.
run_cases() {
	local names name log status start failed=0 number=0
	shopt -s extdebug
	names=$(compgen -A function test_ | while read -r name; do declare -F "$name"; done |
		sort -k2n | cut -d' ' -f1)
	shopt -u extdebug
	if [[ -n ${CASES:-} ]]; then
		names=$(grep -E -- "$CASES" <<<"$names") || names=
	fi
	log=$(mktemp)
	printf '1..%d\n' "$(grep -c . <<<"$names")"
	for name in $names; do
		number=$((number + 1))
		BEGAN=$EPOCHREALTIME start=${EPOCHREALTIME/./}
		status=0
		(
			trap - EXIT
			set -Eeuo pipefail
			trap 'echo "line $LINENO: $BASH_COMMAND" >&2' ERR
			"$name"
		) >"$log" 2>&1 </dev/null &
		wait $! || status=$?
		name=${name#test_}
		case $status in
		0) printf 'ok %d - %s # %d ms\n' "$number" "${name//_/ }" \
			$(((${EPOCHREALTIME/./} - start) / 1000)) ;;
		77) printf 'ok %d - %s # SKIP %s\n' "$number" "${name//_/ }" \
			"$(sed -n 's/^SKIPPED: //p' "$log" | head -n1)" ;;
		*)
			printf 'not ok %d - %s\n' "$number" "${name//_/ }"
			sed 's/^/#   /' "$log"
			failed=1
			;;
		esac
	done
	rm -f "$log"
	return "$failed"
}
