#!/bin/bash
# What bash offers behind varbosctl and varbosd is what they have: every verb, every option, the spaces
# that there are. Arguments: the folder of the completions, varbosctl, varbosd.
set -uo pipefail
completions=$1 ctl=$2 daemon=$3
folder=$(mktemp -d /tmp/varbos-completion-XXXXXX)
failed=0 asked=0
pid=
cleanup() {
	[[ -z $pid ]] || { kill "$pid" 2>/dev/null && wait "$pid"; } || :
	rm -rf "$folder"
}
trap cleanup EXIT
unset VARBOS_SOCKET

# As bash loads them: by the command's name.
source "$completions/varbosctl"
source "$completions/varbosd"
[[ $(complete -p varbosctl) == *_varbosctl* && $(complete -p varbosd) == *_varbosd* ]] || {
	echo "no completion is registered"
	exit 1
}

# offers PROGRAM WORD...: what bash would offer with the cursor behind the last word.
offers() {
	COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
	asked=$((asked + 1))
	"_${1##*/}" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" 2>>"$folder/errors"
}

# The words of the input, in order, on one line.
sorted() {
	tr -s ' ' '\n' | grep . | sort | paste -sd ' '
}

# exactly "WORD WORD..." PROGRAM WORD...
exactly() {
	local wanted=$1 found
	shift
	offers "$@"
	found=$(printf '%s\n' "${COMPREPLY[@]}" | sorted)
	wanted=$(tr '\n' ' ' <<<"$wanted" | sorted)
	[[ $found == "$wanted" ]] && return
	echo "'${*:2}' is offered '$found', not '$wanted'"
	failed=1
}

among() {
	local wanted=$1
	shift
	offers "$@"
	[[ " ${COMPREPLY[*]} " == *" $wanted "* ]] && return
	echo "'${*:2}' is not offered '$wanted', but '${COMPREPLY[*]}'"
	failed=1
}

# ---- every verb and every option that the help names
verbs=$("$ctl" help | sed -nE '/^Verbs:/,/^$/s/^  ([a-z]+( [a-z]+)*) .*/\1/p')
[[ $(wc -l <<<"$verbs") -ge 9 ]] || { echo "the help names too few verbs: $verbs"; exit 1; }
while read -r -a verb; do
	last=$((${#verb[@]} - 1))
	among "${verb[last]}" "$ctl" "${verb[@]:0:last}" ""
	among "${verb[last]}" "$ctl" "${verb[@]:0:last}" "${verb[last]:0:1}"
	among "${verb[last]}" "$ctl" help "${verb[@]:0:last}" ""
	options=$("$ctl" help "${verb[@]}" | grep -oE '^ .{0,6}--[a-z-]+' | grep -oE -- '--[a-z-]+')
	exactly "$options" "$ctl" "${verb[@]}" --
done <<<"$verbs"
options=$("$daemon" --help | grep -oE '^  --[a-z._-]+(, --[a-z._-]+)*' | tr , ' ')
exactly "$options" "$daemon" --
[[ $options == *--socket* && $options == *--memory.size* ]] || { echo "the help names: $options"; exit 1; }

# ---- what stands between does not confuse it
among create "$ctl" --json spaces c
among create "$ctl" --socket /run/x spaces c
among create "$ctl" --socket = /run/x -t 5 spaces c
exactly "" "$ctl" --timeout ""
exactly "" "$ctl" ping -n ""
exactly "" "$ctl" spaces create frames ""
exactly "" "$ctl" no-such-verb ""

# ---- values
mkdir "$folder/a" && touch "$folder/a/one.sock"
exactly "$folder/a/one.sock" "$ctl" --socket "$folder/a/o"
exactly "$folder/a/one.sock" "$ctl" --socket = "$folder/a/o"
exactly "$folder/a/one.sock" "$ctl" sim --belady --svg "$folder/a/o"
exactly "$folder/a/one.sock" "$ctl" sim --format lines "$folder/a/o"
exactly "$folder/a/one.sock" "$daemon" --socket "$folder/a/o"
among 2M "$daemon" --pages ""
among 2M "$daemon" --memory.pages = 2
exactly warning "$daemon" --log.level w

# ---- the spaces that there are
socket=$folder/varbos.sock
exactly "" "$ctl" --socket "$socket" spaces remove ""
"$daemon" --socket "$socket" --size 64M --pages 4K 2>"$folder/log" &
pid=$!
for ((i = 0; i < 600; i++)); do
	"$ctl" --socket "$socket" ping -n1 >/dev/null 2>&1 && break
	kill -0 "$pid" 2>/dev/null || { cat "$folder/log"; exit 1; }
	sleep 0.1
done
for name in images index; do
	"$ctl" --socket "$socket" spaces create "$name" --limit 4M || exit 1
done
exactly "images index" "$ctl" --socket "$socket" spaces remove ""
exactly "images" "$ctl" --socket = "$socket" spaces remove im
exactly "" "$ctl" --socket "$socket" spaces create ""
export VARBOS_SOCKET=$socket
exactly "index" "$ctl" spaces remove in
exactly "" "$ctl" spaces remove images ""

"$ctl" caches create images thumbs >/dev/null || exit 1
"$ctl" caches create index terms >/dev/null || exit 1
among "images" "$ctl" caches ""
exactly "images index" "$ctl" caches create ""
exactly "" "$ctl" caches create images ""
exactly "images index" "$ctl" caches remove ""
exactly "thumbs" "$ctl" caches remove images ""
exactly "terms" "$ctl" caches set index t
exactly "terms" "$ctl" get index ""
exactly "" "$ctl" del index terms ""

# compopt may say that no completion is under way, for none is; nothing else may be said.
sed '/compopt/d' "$folder/errors" >"$folder/said"
[[ ! -s $folder/said ]] || { cat "$folder/said"; failed=1; }
echo "$asked completions asked for"
exit "$failed"
