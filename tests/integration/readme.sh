#!/bin/sh
# The first C program of README.md is the one in examples/, the second a part of another there, and
# the command lines printed after them do what they are printed to do. Arguments: the source root, the build root, and what else the
# compiler is to be told (-fsanitize=..., where the library was built so).
#
# They run in a folder that looks like a clone in which `./dev build` has just been run: that one
# line is answered by a script of ours, for this build is what is to be tested.
set -eu
root=$1 built=$2
shift 2
folder=$(mktemp -d /tmp/varbos-readme-XXXXXX)
cleanup() {
	[ -z "${!:-}" ] || { kill $! 2>/dev/null && wait $!; } || :
	rm -rf "$folder"
}
trap cleanup EXIT
fail() {
	echo "README.md: $*" >&2
	exit 1
}

awk '/^```c$/ && !done { inside = 1; next }
     /^```$/ && inside { inside = 0; done = 1 }
     inside' "$root/README.md" >"$folder/hello.c"
[ -s "$folder/hello.c" ] || fail "no C program"
diff -u "$root/examples/hello.c" "$folder/hello.c"
awk '/^```c$/ { n++; inside = n == 2; next } /^```$/ { inside = 0 } inside' "$root/README.md" >"$folder/part"
while IFS= read -r line; do
	grep -Fxq "$line" "$root/examples/pipeline.c" || fail "not in examples/pipeline.c: $line"
done <"$folder/part"
awk '/^```/ { inside = first = !inside; next }
     first { wanted = /^\$ \.\/dev build$/; first = 0 }
     inside && wanted' "$root/README.md" >"$folder/session"
for word in '^\$ ./dev build$' '^\$ .*varbosd ' '^\$ cc ' '^\$ .*varbosctl '; do
	grep -q "$word" "$folder/session" || fail "no line like $word"
done

mkdir "$folder/bin" "$folder/build"
ln -s "$root/include" "$root/examples" "$folder/"
for file in daemon/server/varbosd client/ctl/varbosctl client/libvarbos.so client/libvarbos.so.0; do
	ln -s "$built/$file" "$folder/build/"
done
printf '#!/bin/sh\ntest "$*" = build\n' >"$folder/dev"
printf '#!/bin/sh\nexec %s -Wall -Wextra -Werror %s "$@"\n' "$(command -v "${CC:-cc}")" "$*" >"$folder/bin/cc"
chmod +x "$folder/dev" "$folder/bin/cc"
export PATH="$folder/bin:$PATH"
unset LD_LIBRARY_PATH # what README.md prints has to do
cd "$folder"

# A line with "$ " in front is typed; those after it, if any, are what it must say.
check_said() {
	[ ! -s wanted ] || diff -u wanted said >&2 || fail "'$typed' says something else"
}
: >wanted
typed=
while IFS= read -r line <&3; do
	case $line in
	'$ '*)
		check_said
		: >wanted
		typed=${line#"$ "}
		eval "$typed" >said 2>err || { cat err >&2; fail "'$typed' fails"; }
		case $typed in
		*'&') # whoever types takes a moment
			tries=0
			until [ -S build/hello.sock ]; do
				tries=$((tries + 1))
				[ $tries -lt 600 ] && kill -0 $! || { cat err >&2; fail "'$typed' ends"; }
				sleep 0.1
			done
			;;
		esac
		;;
	*) printf '%s\n' "$line" >>wanted ;;
	esac
done 3<session
check_said
wait $! || fail "the daemon did not end well"
