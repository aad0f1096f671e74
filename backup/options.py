"""What an export and an import are told, whoever asks for them."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """Whose disk a backup holds, as far as that is known.

    Attributes:
        instance: its name; empty if it is not known.
        index: the number of the disk.
        name: the name of the disk in Ganeti.
    """

    instance: str = ""
    index: int | None = None
    name: str | None = None

    @property
    def disk(self) -> dict[str, str | int]:
        """The disk for a stream's header."""
        number = {} if self.index is None else {"index": self.index}
        return number | ({"name": self.name} if self.name else {})


@dataclass(frozen=True)
class ImportOptions:
    """How a stream becomes a disk.

    Attributes:
        device: a block device or file; a file that does not exist is made if `allow_file`.
        what: the task in errors, as in "import of disk 0 of web1.example.org".
        stream: the name of the stream in errors.
        key: the beginning of the names of files that are kept of this disk.
        force: whether the content of the device may be overwritten.
        allow_file: whether it may be a file.
        confirm: asks the user whether content may be overwritten; None if there is nobody to ask.
        use_kvm: whether the appliance may use KVM, where a file system is shrunk.
    """

    device: str
    what: str
    stream: str
    key: str
    force: bool = False
    allow_file: bool = False
    confirm: Callable[[str], bool] | None = None
    use_kvm: bool = True
