# For site hooks that source what ganeti-instance-debootstrap has here. The settings, and all else
# that the defaults file and the variant's file assign, are in the hook's environment already; these
# are the names that were known to the shell alone, its log_error and its clean-up list.
# shellcheck disable=SC2034  # hooks use them
SCRIPT_NAME=$(basename "$0")
DEFAULT_FILE="/etc/default/ganeti-instance-debootstrap"
DEFAULT_PARTITION_STYLE="msdos"
VOL_ID="/sbin/blkid -o value -s UUID"
VOL_TYPE="/sbin/blkid -o value -s TYPE"
instance="${INSTANCE_NAME:-}"
old_name="${OLD_INSTANCE_NAME:-}"
blockdev="${BLOCKDEV:-${DISK_0_PATH:-}}"
if [ -n "${OS_VARIANT:-}" ]; then
  VARIANT_CONFIG="${VARIANTS_DIR:-}/$OS_VARIANT.conf"
fi

CLEANUP=( )

log_error() {
  echo "$@" >&2
}

cleanup() {
  local index
  for (( index = ${#CLEANUP[@]} - 1; index >= 0; index-- )); do
    ${CLEANUP[index]}
  done
  CLEANUP=( )
}

trap cleanup EXIT
