# For site hooks that source what ganeti-instance-debootstrap has here: its clean-up list.
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
