"""A driver of a guest's serial console."""

import io
import re
from collections.abc import Sequence
from typing import ClassVar

import pexpect

# Seconds; guests are emulated, often two at a time on two cores.
BOOT_TIMEOUT = 300
COMMAND_TIMEOUT = 120

LOGIN = r"\S+ login: "
SHELL = r"root@[\w.-]+:[^\r\n]*# "
CURRENT_PASSWORD = r"(?i)current\)? (unix )?password: ?"
NEW_PASSWORD = r"(?i)new (unix )?password: ?"
TRANSCRIPT_LINES = 40


class ConsoleError(AssertionError):
    """The guest did not print what was expected; the message has its last lines."""


class Console:
    """The serial console of a guest.

    Args:
        argv: the program whose terminal is the console: socat on QEMU's socket, or QEMU itself.
    """

    opened: ClassVar[list["Console"]] = []  # since the tests began

    def __init__(self, argv: Sequence[str]) -> None:
        Console.opened.append(self)
        self._said = io.StringIO()
        self._commands = 0
        self._process = pexpect.spawn(
            argv[0],
            list(argv[1:]),
            encoding="utf-8",
            codec_errors="replace",
            echo=False,
            dimensions=(50, 200),
        )
        self._process.logfile_read = self._said
        # Programs drop input that comes before their prompt, and emulated ones prompt late.
        self._process.delaybeforesend = 0.3

    @property
    def transcript(self) -> str:
        """All output of the guest, without terminal control sequences."""
        return re.sub(r"\x1b(\[[0-9;?]*[A-Za-z]|[()][0-9A-Z])|\r", "", self._said.getvalue())

    def expect(self, *patterns: str, timeout: float, what: str) -> int:
        """Waits for one of the patterns; returns its index.

        Raises:
            ConsoleError: none came in `timeout` seconds, or the line was closed.
        """
        try:
            return int(self._process.expect(list(patterns), timeout=timeout))
        except (pexpect.TIMEOUT, pexpect.EOF) as error:
            how = "the line was closed" if isinstance(error, pexpect.EOF) else f"not in {timeout} s"
            last = "\n".join(self.transcript.splitlines()[-TRANSCRIPT_LINES:])
            raise ConsoleError(
                f"console: no {what} ({how}); the last lines were:\n{last}"
            ) from None

    def wait_off(self, timeout: float) -> None:
        """Waits for the guest's power-off. QEMU may end before the whole last line arrives."""
        self.expect("All filesystems unmounted", timeout=timeout, what="power-off")
        self._process.expect(["reboot: Power down", pexpect.EOF], timeout=timeout)

    def send(self, line: str) -> None:
        """Types a line."""
        self._process.sendline(line)

    def wait_grub(self, timeout: float = BOOT_TIMEOUT) -> None:
        """Waits for the boot loader's menu."""
        self.expect("GNU GRUB", timeout=timeout, what="menu of GRUB")

    def wait_login(self, timeout: float = BOOT_TIMEOUT) -> None:
        """Waits for the login prompt."""
        self.expect(LOGIN, timeout=timeout, what="login prompt")

    def login(self, user: str, password: str) -> bool:
        """Logs in at the login prompt; returns whether the password must be changed now.

        If so, call `change_password` next; if not, a shell is ready for `run`.
        """
        self.send(user)
        self.expect("Password: ", timeout=COMMAND_TIMEOUT, what="question for the password")
        self.send(password)
        answer = self.expect(
            SHELL,
            "required to change your password",
            "Login incorrect",
            timeout=COMMAND_TIMEOUT,
            what="shell or request for a new password",
        )
        if answer == 2:
            raise ConsoleError(f"console: the guest refused the password of {user}")
        if answer == 0:
            self._quieten()
        return answer == 1

    def change_password(self, old: str, new: str) -> None:
        """Makes the forced change at the first login; afterwards a shell is ready for `run`."""
        if self._expect_password(CURRENT_PASSWORD, NEW_PASSWORD) == 0:
            self.send(old)
            self._expect_password(NEW_PASSWORD)
        self.send(new)
        self._expect_password(NEW_PASSWORD)  # "Retype new password: "
        self.send(new)
        self.expect(SHELL, timeout=COMMAND_TIMEOUT, what="shell after the change of the password")
        self._quieten()

    def _expect_password(self, *patterns: str) -> int:
        return self.expect(
            *patterns, timeout=COMMAND_TIMEOUT, what="question of the change of the password"
        )

    def logout(self) -> None:
        """Ends the shell, shows kernel messages again, and waits for the login prompt."""
        self.send("dmesg -n 7; exit")
        self.wait_login(COMMAND_TIMEOUT)

    def _quieten(self) -> None:
        # A shell without line editor, prompt and echo, so that only the output of commands is read.
        self.send("dmesg -n 1; stty -echo; PS1= PS2= exec bash --noprofile --norc --noediting")
        self.run("true")

    def run(self, command: str, timeout: float = COMMAND_TIMEOUT) -> tuple[int, str]:
        """Runs a command in the guest's shell; returns its exit code and its output."""
        self._commands += 1
        number = self._commands
        # printf joins the parts of the markers, so that an echo of this line does not match.
        self.send(
            f"printf '\\n<%s {number}>\\n' begin; {{ {command}\n}} </dev/null 2>&1;"
            f" printf '<%s {number} %d>\\n' end $?"
        )
        self.expect(f"<begin {number}>\r*\n", timeout=timeout, what=f"begin of {command!r}")
        self.expect(rf"<end {number} (\d+)>\r*\n", timeout=timeout, what=f"end of {command!r}")
        return int(self._process.match.group(1)), self._process.before.replace("\r", "")

    def power_off(self, timeout: float = BOOT_TIMEOUT) -> None:
        """Powers the guest off from its shell, and waits for its end."""
        self.send("systemctl poweroff")
        self.expect(pexpect.EOF, timeout=timeout, what="end of the guest")

    def close(self) -> None:
        """Closes the console; if its program is QEMU, that ends the guest."""
        self._process.close(force=True)
