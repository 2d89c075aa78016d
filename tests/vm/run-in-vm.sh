#!/bin/bash
# run-in-vm.sh [options] -- COMMAND [ARG...]   (one argument: a shell script; several: quoted as given)
# Boots Debian with systemd as PID 1 in QEMU, with NUMA nodes of pairwise distinct distances and
# hugepages reserved on each, runs COMMAND as root in /share, prints its stdout and stderr, exits with
# its exit status. Needs no root; nothing of the host is seen or touched in there.
#   --nodes N      NUMA nodes (2)                    --share DIR     copied to /share (nothing is written back)
#   --cpus N       vCPUs, one per node (= nodes);    --out DIR       what COMMAND leaves in /out comes back here
#                  fewer leaves CPU-less nodes       --release R     bookworm (systemd 252, 6.1) | trixie (257, 6.12)
#   --mem MiB      memory per node (512)             --packages P,P  more packages in the image
#   --huge N[,N..] 2 MiB hugepages per node (32)     --timeout S     (120)
#   --accel tcg|kvm (tcg)                            --append STR    more kernel command line
#   --console FILE keep the kernel's console
# Exit status: COMMAND's; 124 timeout; 125 the VM died (panic, power-off) before COMMAND ended; 2 usage.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
arguments=("$@") nodes=2 cpus='' mem=512 huge=32 share='' out='' release='' packages=''
timeout=120 append='' accel=tcg console=''
while (($#)); do
	case $1 in
	--) shift; break ;;
	--nodes) nodes=$2 ;;
	--cpus) cpus=$2 ;;
	--mem) mem=$2 ;;
	--huge) huge=$2 ;;
	--share) share=$2 ;;
	--out) out=$2 ;;
	--release) release=$2 ;;
	--packages) packages=$2 ;;
	--timeout) timeout=$2 ;;
	--append) append=$2 ;;
	--accel) accel=$2 ;;
	--console) console=$2 ;;
	*) echo "run-in-vm: unknown option $1" >&2; exit 2 ;;
	esac
	shift 2
done
(($#)) || { echo "run-in-vm: no command" >&2; exit 2; }
((nodes * mem <= 4096)) || { echo "run-in-vm: $nodes nodes of $mem MiB are more than 4 GiB" >&2; exit 2; }
: "${cpus:=$nodes}"
image=$("$here/build-image.sh" "$release" "$packages")

work=$(mktemp -d "${TMPDIR:-/tmp}/varbos-vm-XXXXXX")
qemu=''
# shellcheck disable=SC2317 # trap calls it
cleanup() {
	trap '' INT TERM HUP
	if [[ -n $qemu ]]; then
		kill -KILL "-$qemu" 2>/dev/null || :
		wait "$qemu" 2>/dev/null || :
	fi
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

# --- a second initramfs, unpacked over the first: /share, the command, and the unit that runs it
over=$work/over
mkdir -p "$over/share" "$over/etc/systemd/system/multi-user.target.wants"
[[ -z $share ]] || cp -a "$share/." "$over/share/"
if (($# == 1)); then printf '%s\n' "$1"; else printf '%q ' "$@"; fi >"$over/vmcmd"
cat >"$over/vmrun" <<'AGENT'
#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
for t in 1 2 3; do stty -F /dev/ttyS$t raw -echo; done # 0: console, 1: output, 2: exit status, 3: /out as tar
systemctl is-system-running --wait >/dev/null
echo start >/dev/ttyS2
cd /share
(echo 0 >/proc/self/oom_score_adj; exec bash /vmcmd) >/dev/ttyS1 2>&1 </dev/null
status=$?
[ -z "$(ls -A /out)" ] || tar -C /out -cf /dev/ttyS3 .
echo "$status $(cut -d' ' -f1 /proc/uptime)" >/dev/ttyS2
systemctl poweroff -ff
AGENT
chmod 755 "$over/vmrun"
cat >"$over/etc/systemd/system/vmrun.service" <<'UNIT'
[Service]
ExecStart=/vmrun
OOMScoreAdjust=-999
OOMPolicy=continue
LimitMEMLOCK=infinity
UNIT
ln -s ../vmrun.service "$over/etc/systemd/system/multi-user.target.wants/"
(cd "$over" && find . -mindepth 1 | cpio --quiet -o -H newc -R 0:0) | cat "$image.cpio" - >"$work/initrd"
rm -rf "$over"

# --- the machine: NODES x MEM, one vCPU per node, distances 12, 16, 20, 24... each pair its own.
# cx16=off: with cmpxchg16b, QEMU 7.2 TCG crashed 6 of 16 boots of 6.12 (corrupt EFLAGS); without it none.
machine=() reserved='' pair=0
IFS=, read -ra pages <<<"$huge"
for ((i = 0; i < nodes; i++)); do
	reserved+=${reserved:+,}$i:${pages[i]-${pages[0]}}
	node=node,nodeid=$i,memdev=m$i
	((i >= cpus)) || node+=,cpus=$i
	machine+=(-object "memory-backend-ram,id=m$i,size=${mem}M" -numa "$node")
done
for ((i = 0; i < nodes; i++)); do
	for ((j = i + 1; j < nodes; j++)); do
		machine+=(-numa "dist,src=$i,dst=$j,val=$((12 + 4 * pair++))")
	done
done
kernel="console=ttyS0 rdinit=/lib/systemd/systemd panic=-1 oops=panic softlockup_panic=1 loglevel=4"
# Twice as many seconds without a turn are a lockup: the machine may stand still while the host is busy.
kernel+=" watchdog_thresh=60"
kernel+=" mitigations=off tsc=reliable no_timer_check rcupdate.rcu_expedited=1 systemd.show_status=0"
kernel+=" hugepagesz=2M hugepages=$reserved $append"

# A process group of its own, so that one signal reaches all of it; and SIGKILL for this script ends
# it as well. A file as serial port never blocks QEMU.
set -m
setpriv --pdeathsig KILL timeout --foreground -k 5 "$timeout" setpriv --pdeathsig KILL qemu-system-x86_64 -M q35 -accel "$accel" -cpu max,la57=off,cx16=off \
	-smp "$cpus" -m $((nodes * mem))M "${machine[@]}" -nodefaults -display none -no-reboot \
	-kernel "$image.vmlinuz" -initrd "$work/initrd" -append "$kernel" -serial "file:$work/console" \
	-serial "file:$work/log" -serial "file:$work/status" -serial "file:$work/out" </dev/null &
qemu=$!
set +m
: >>"$work/log"
tail -q -n +1 -s 0.1 --pid=$qemu -f "$work/log" &
shown=$!
ended=0
wait "$qemu" || ended=$?
wait "$shown" || :
qemu=''

[[ -z $console ]] || cp "$work/console" "$console"
started='' status='' uptime=''
{ read -r started && read -r status uptime; } <"$work/status" 2>/dev/null || :
if [[ -z $status ]]; then
	if [[ -z $started${VM_RETRIED:-} ]]; then # the emulated kernel did not come up: not COMMAND's fault
		echo "run-in-vm: the boot failed, once more" >&2
		rm -rf "$work"
		VM_RETRIED=1 exec "$0" "${arguments[@]}"
	fi
	tail -n 40 "$work/console" >&2
	((ended != 124)) || { echo "run-in-vm: timeout after $timeout s" >&2; exit 124; }
	echo "run-in-vm: the VM ended before the command did (status of qemu: $ended)" >&2
	exit 125
fi
if [[ -n $out ]]; then
	mkdir -p "$out"
	[[ ! -s $work/out ]] || tar -C "$out" -xf "$work/out"
fi
[[ -z ${VM_VERBOSE:-} ]] || echo "[vm: uptime at its end $uptime s]" >&2
exit "$status"
