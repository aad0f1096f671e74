"""What passes ask of libvirt beside `importer.host.virsh`: backup jobs, sizes, ends."""

import shlex

from importer.host.connection import SECONDS
from importer.host.virsh import VIRSH, Virsh
from node.errors import CommandError

BEGIN_SECONDS = 120.0  # libvirt waits 30 s for another job's end; freezing takes its time
FREEZE_SECONDS = 20  # a guest whose agent hangs must not stay frozen for longer
THAW_SECONDS = 20.0
DESTROY_SECONDS = 120.0
LATE = 3  # exit code: it is not off in time

# $1: the domain. $2: bytes of the job's XML; the rest of stdin is the checkpoint's. $3: whether to
# suspend. $4: seconds for freezing file systems, or 0. $5: the file with the number of the script
# that watches. It prints whether they were frozen. With a failure, the domain runs as before, also
# if the connection is lost meanwhile, or if nobody hears what it prints: who has ended it may have
# seen the domain run, before it was suspended here. Frozen file systems of a domain that stays
# suspended are thawed when it is resumed.
_BEGIN = f"""
virsh() {{ command {shlex.join(VIRSH)} "$@"; }}
umask 077
dir=$(mktemp -d)
undo=
trap 'rm -rf "$dir"; $undo' EXIT
trap 'exit 1' HUP INT TERM PIPE
head -c "$2" > "$dir/job"
cat > "$dir/checkpoint"
domain=$1 suspend=$3 watch=$5 frozen=no
thaw() {{ timeout {THAW_SECONDS:.0f} {shlex.join(VIRSH)} domfsthaw "$domain" > /dev/null || :; }}
end_job() {{ virsh domjobabort "$domain" > /dev/null || :; ${{before:-:}}; }}
resume() {{ virsh resume "$domain" > /dev/null || :; if [ "$frozen" = yes ]; then thaw; fi; }}
if [ "$4" != 0 ]; then
  undo=thaw
  if timeout "$4" {shlex.join(VIRSH)} domfsfreeze "$domain" > /dev/null; then
    frozen=yes
  else
    thaw
  fi
fi
set -- "$dir/job"
if [ -s "$dir/checkpoint" ]; then set -- "$@" --checkpointxml "$dir/checkpoint"; fi
if [ "$suspend" = yes ]; then
  virsh suspend "$domain" > /dev/null
  undo=resume
fi
virsh backup-begin "$domain" --reuse-external --backupxml "$@" > /dev/null
before=$undo undo=end_job
if ! [ -e "$watch" ] || grep -qx alone "$watch"; then
  echo 'nobody watches the job: the connection was cut' >&2
  exit 1
fi
echo "$frozen"
undo=
"""
# $1: the domain. $2: seconds.
_SHUT_DOWN = f"""
virsh() {{ command {shlex.join(VIRSH)} "$@"; }}
virsh shutdown "$1" > /dev/null
end=$(($(date +%s) + $2))
until virsh domstate "$1" | grep -qx 'shut off'; do
  if [ "$(date +%s)" -ge "$end" ]; then exit {LATE}; fi
  sleep 0.1
done
"""


class JobVirsh(Virsh):
    """Further calls of virsh; all raise HostLost, or CommandError if virsh fails."""

    def backup_begin(
        self,
        domain: str,
        job_xml: str,
        checkpoint_xml: str | None,
        *,
        watch: str,
        suspend: bool = False,
        freeze: bool = False,
    ) -> bool:
        """Begins a backup job with scratch files that exist; see `importer.copying.jobs.job.begin`.

        All in one command there, so that a suspended guest does not wait for us.

        Returns:
            Whether the guest's file systems were frozen before.
        """
        ended = self._host.script(
            _BEGIN,
            domain,
            str(len(job_xml.encode())),
            "yes" if suspend else "no",
            str(FREEZE_SECONDS if freeze else 0),
            watch,
            what=f"virsh backup-begin of {domain}",
            input=job_xml + (checkpoint_xml or ""),
            seconds=BEGIN_SECONDS,
        )
        return ended.stdout.split() == ["yes"]

    def shut_down(self, domain: str, seconds: int) -> bool:
        """Shuts a guest down, and waits until it is off; returns whether it is, in time."""
        what = f"virsh shutdown of {domain}"
        ended = self._host.script(
            _SHUT_DOWN,
            *(domain, str(seconds)),
            what=what,
            check=False,
            seconds=seconds + SECONDS,
        )
        if ended.exit_code not in (0, LATE):
            raise CommandError(
                f"{what} on {self._host.name}: {ended.stderr.strip()}",
                exit_code=ended.exit_code,
                stdout=ended.stdout,
                stderr=ended.stderr,
                hint="see virsh domstate there",
            )
        return ended.exit_code == 0

    def destroy(self, domain: str) -> None:
        """Switches a domain off; QEMU closes its images in order, or this fails."""
        self._call("destroy", "--graceful", domain=domain, seconds=DESTROY_SECONDS)

    def thaw(self, domain: str) -> None:
        """Thaws the file systems of a guest, by its agent; harmless if none is frozen."""
        self._call("domfsthaw", domain=domain, seconds=THAW_SECONDS)
