# Debian - which release the machines of the tests run, and where its packages come from.
# shellcheck shell=bash

VM_CACHE=${VM_CACHE:-${HOME:-$(getent passwd "$EUID" | cut -d: -f6)}/.cache/varbos-vm}
export VM_CACHE

# The host's own release, so that what was built here runs there; bookworm if it is no Debian.
debian_release() {
	local ID='' VERSION_CODENAME=''
	# shellcheck source=/dev/null
	. /etc/os-release
	if [[ $ID == debian && -n $VERSION_CODENAME ]]; then
		echo "$VERSION_CODENAME"
	else
		echo bookworm
	fi
}

# debian_bootstrap RELEASE TARGET OPTION...: mmdebstrap with the host's proxies and, if the host
# runs that release, from where the host has it; else from mmdebstrap's mirror.
debian_bootstrap() {
	local release=$1 target=$2 options=() sources=() key value attempt
	shift 2
	for key in Acquire::http::Proxy Acquire::https::Proxy; do
		value=$(apt-config dump --format '%v%n' "$key")
		[[ -z $value ]] || options+=("--aptopt=$key \"$value\"")
	done
	if [[ -s /etc/apt/sources.list.d/debian.sources && $(debian_release) == "$release" ]]; then
		sources=(/etc/apt/sources.list.d/debian.sources)
	fi
	# A mirror, or the way to it, may be away for a moment; and whoever uses apt in there meets the same.
	for attempt in 1 2 3; do
		mmdebstrap --quiet --aptopt='APT::Install-Recommends "false"' \
			--aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "10"' \
			--dpkgopt=force-unsafe-io "${options[@]}" "$@" "$release" "$target" "${sources[@]}" &&
			return
		((attempt < 3)) || return
		[[ ! -d $target ]] || find "$target" -xdev -mindepth 1 -delete || return
		echo "debian_bootstrap: once more" >&2
		sleep 20
	done
}

# debian_libraries PROGRAM...: the packages that hold the libraries these are linked with.
debian_libraries() {
	local path
	ldd "$@" | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p' | sort -u | while read -r path; do
		dpkg-query -S "$path" 2>/dev/null ||
			dpkg-query -S "$(readlink -f "$path")" 2>/dev/null ||
			dpkg-query -S "${path#/usr}" "/usr$path" 2>/dev/null || true
	done | sed 's/:.*//' | sort -u
}

# clone_tree FROM TO: also where FROM is somebody else's. The other end of a clone takes no -c.
clone_tree() {
	local config status=0
	config=$(mktemp)
	printf '[safe]\n\tdirectory = *\n' >"$config"
	GIT_CONFIG_GLOBAL=$config git clone --quiet --no-hardlinks "$1" "$2" || status=$?
	rm -f "$config"
	return "$status"
}
