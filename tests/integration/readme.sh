#!/bin/sh
# The first C program of README.md compiles exactly as printed there, is the one in examples/, and
# does what it says. Arguments: the source root, the build folder of libvarbos, varbosd, and what
# else the compiler is to be told (-fsanitize=..., where the library was built so).
set -eu
root=$1 library=$2 daemon=$3
shift 3
folder=$(mktemp -d /tmp/varbos-readme-XXXXXX)
pid=
cleanup() {
	[ -z "$pid" ] || { kill "$pid" 2>/dev/null && wait "$pid"; } || :
	rm -rf "$folder"
}
trap cleanup EXIT

[ -f "$root/README.md" ] || { echo "README.md IS MISSING: nothing to compile" >&2; exit 77; }
awk '/^```c$/ && !done { inside = 1; next }
     /^```$/ && inside { inside = 0; done = 1 }
     inside' "$root/README.md" >"$folder/hello.c"
[ -s "$folder/hello.c" ] || { echo "README.md has no C program" >&2; exit 1; }
diff -u "$root/examples/hello.c" "$folder/hello.c"

${CC:-cc} -Wall -Wextra -Werror -I"$root/include" -o "$folder/hello" "$folder/hello.c" \
	-L"$library" -Wl,-rpath,"$library" -lvarbos "$@"
"$daemon" --socket "$folder/varbos.sock" --size 64M 2>"$folder/log" &
pid=$!
tries=0
until [ -S "$folder/varbos.sock" ]; do
	tries=$((tries + 1))
	[ $tries -lt 600 ] && kill -0 "$pid" || { cat "$folder/log" >&2; exit 1; }
	sleep 0.1
done
said=$(VARBOS_SOCKET="$folder/varbos.sock" "$folder/hello")
[ "$said" = "hello from another process" ] || { echo "it said: $said" >&2; exit 1; }
