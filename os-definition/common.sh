# For site hooks that source the common.sh of ganeti-instance-debootstrap. All variables that the
# defaults file and the variant's file assign are already in the hook's environment. Here are the
# shell variables that common.sh did not export, its log_error and its list of clean-up commands.
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
