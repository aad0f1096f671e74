"""The script that watches a backup job on the KVM host. Pure.

A backup job keeps what the guest overwrites in scratch files. If their file system is full, QEMU
pauses the guest ("I/O error") until somebody acts. So the script runs beside QEMU, and goes on when
the connection to it is cut: it then acts alone.

Its lines of input: `alive`, every few seconds; `arm suspended` and `arm stopped` before the domain
is suspended or shut down; `end`. Its lines of output: `free BYTES`, every few seconds; `armed`;
`ended`, after which it does nothing more; `space BYTES` and `paused`, when it has aborted the job:
for want of space, or since the guest was paused.

If its input ends or is silent for too long, an armed script makes the domain run again, and aborts
the job. Else it goes on watching until there is no job, another script takes over, or a day has
passed: the job stays, so that the copy can go on.

Its number is in a file (`owner_of`): a script whose number is not there any more does nothing. Once
it acts alone, a second line there says so. A command that begins a job reads that line afterwards,
and ends the job: the command may have been under way when the connection was cut.
"""

from collections.abc import Sequence

from importer.copying.jobs.servers import END_SERVERS, in_json

SCRIPT = (
    END_SERVERS
    + r"""
set -u
export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
domain=$1 token=$2 directory=$3 owner=$4 reserve=$5 silence=$6 patience=$7
shift 7
images=("$@")
mode=keep heard=$SECONDS told=-9 alone=
trap '' HUP PIPE
umask 077
echo "$$" > "$owner" || exit 1
virsh() { timeout 120 virsh -q -c qemu:///system "$@" < /dev/null 2> /dev/null; }
say() { if [ -z "$alone" ]; then printf '%s\n' "$*" 2> /dev/null; fi; }
# Another script takes over as soon as it has written its number there.
is_ours() { [ "$(head -n 1 "$owner" 2> /dev/null)" = "$$" ]; }
finish() {
  if is_ours; then rm -f "$owner"; fi
  exit 0
}
# 0: our job runs; 1: none of ours; 2: libvirt does not answer.
job() {
  local xml
  if xml=$(virsh backup-dumpxml "$domain"); then
    [[ $xml == *"$token"* ]]
    return
  fi
  virsh list > /dev/null && return 1
  return 2
}
end_job() {
  while true; do
    job
    case $? in
      0) virsh domjobabort "$domain" > /dev/null ;;
      1) break ;;
    esac
    sleep 0.3
  done
  rm -rf "$directory"
}
state() { virsh domstate "$domain" "$@" | head -n 1; }
has_io_error() { [[ $(state --reason) == 'paused (I/O error)' ]]; }
resume() {
  local count
  for ((count = 0; count < 3600; count++)); do
    is_ours || exit 0
    case $(state) in
      paused) virsh resume "$domain" > /dev/null && break ;;
      ?*) break ;;
    esac
    sleep 1
  done
  virsh domfsthaw "$domain" > /dev/null
}
# A guest that was asked to shut down may still do that.
start() {
  local count
  for ((count = 0; count < 3600; count++)); do
    is_ours || exit 0
    case $(state) in
      'shut off')
        end_servers
        virsh start "$domain" > /dev/null && return
        ;;
      running | paused) ((count < patience)) || return ;;
    esac
    sleep 1
  done
}
undo() {
  case $mode in
    suspended)
      resume
      end_job
      # Without room for scratch files, it was paused again.
      if has_io_error; then resume; fi
      ;;
    stopped) start; rm -rf "$directory" ;;
    *) return ;;
  esac
  finish
}
# Reads a line for up to a second. The time can be over within a line, whose rest then follows.
hear() {
  IFS= read -r -t 1 piece
  local code=$?
  line=$line$piece
  return "$code"
}
line=
while true; do
  if [ -n "$alone" ]; then
    sleep 1
    is_ours || exit 0
    if ((SECONDS - heard > 86400)); then
      end_job
      finish
    fi
  elif hear; then
    heard=$SECONDS
    case $line in
      'arm '*) mode=${line#arm }; say armed ;;
      end) say ended; finish ;;
    esac
    line=
  elif [ $? -le 128 ] || ((SECONDS - heard > silence)); then
    alone=1
    exec < /dev/null > /dev/null 2>&1
    is_ours || exit 0
    echo alone >> "$owner"
    undo
  fi
  if [ "$mode" != keep ]; then continue; fi
  free=$(df --output=avail -B1 "$directory" 2> /dev/null | tail -n 1)
  if [ -n "$free" ] && ((free < reserve)); then
    end_job
    if has_io_error; then resume; fi
    say "space $free"
    finish
  fi
  if ((SECONDS - told >= 2)); then
    told=$SECONDS
    say "free $free"
    if has_io_error; then
      end_job
      resume
      say paused
      finish
    fi
    if [ -n "$alone" ]; then
      job
      if [ $? -eq 1 ]; then
        is_ours || exit 0
        rm -rf "$directory"
        finish
      fi
    fi
  fi
done
"""
)


def owner_of(token: str) -> str:
    """The file with the number of the script that watches for an import, on the KVM host.

    Args:
        token: of the import.
    """
    return f"/run/ganeti-instance-kit-{token}.watch"


def command(
    domain: str,
    token: str,
    directory: str,
    images: Sequence[str],
    *,
    reserve: int,
    silence: int,
    patience: int,
) -> list[str]:
    """The command line that runs it.

    Args:
        domain: UUID.
        token: part of the path of the job's socket, by which the job is known.
        directory: of the scratch files; removed when the script aborts the job.
        images: paths of the images that are read while the domain is off.
        reserve: bytes that must stay free there.
        silence: seconds without input after which the connection counts as cut.
        patience: seconds that a guest may take to shut down.
    """
    numbers = (str(number) for number in (reserve, silence, patience))
    argv = ["bash", "-c", SCRIPT, "watch", domain, token, directory, owner_of(token)]
    return [*argv, *numbers, *in_json(images)]
