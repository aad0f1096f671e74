"""Errors for users: what failed, on which object, why; and what to do about it."""


class KitError(Exception):
    """A failure that a sysadmin can act on.

    Args:
        message: what failed, on which object, and why, without a leading "error:".
        hint: what to do about it; every error needs one.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class CommandError(KitError):
    """A program ended with an exit code other than 0."""

    def __init__(
        self, message: str, *, exit_code: int, stdout: str, stderr: str, hint: str
    ) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code
        self.stdout = stdout
        self.stderr = stderr
