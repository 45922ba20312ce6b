"""What one child of a supervisor leaves to the next: a text in a file that has no name and that nobody else sees."""

import os
import tempfile
import time
from contextlib import suppress
from typing import BinaryIO, Final

#: The file descriptor of the file, told to the child.
HANDOVER_VARIABLE: Final = "PUSHERABLE_HANDOVER_FD"


class Handover:
    """A place for one text, which can be read once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    @classmethod
    def make(cls) -> "Handover":
        """A new one, for a supervisor; it takes room in the directory for temporary files."""
        return cls(tempfile.TemporaryFile(prefix="pusherable-"))

    @classmethod
    def take_inherited(cls) -> "Handover | None":
        """The supervisor's, if there is one to take; only the first call gets it."""
        descriptor = os.environ.pop(HANDOVER_VARIABLE, None)
        if descriptor is None:
            return None
        # It is not for what this process starts.
        os.set_inheritable(int(descriptor), False)
        return cls(os.fdopen(int(descriptor), "r+b"))

    def lend(self) -> dict[str, str]:
        """Let the next child inherit it; returns what its environment has to say."""
        descriptor = self._file.fileno()
        os.set_inheritable(descriptor, True)
        return {HANDOVER_VARIABLE: str(descriptor)}

    def write(self, text: str) -> None:
        """Leave a text in the place of any other. A disk that is full leaves nothing."""
        with suppress(OSError):
            self._clear()
            self._file.write(text.encode())
            self._file.flush()

    def take(self) -> tuple[str, float]:
        """What was left, and how many seconds ago; an empty text where nothing was."""
        age = max(0.0, time.time() - os.fstat(self._file.fileno()).st_mtime)
        self._file.seek(0)
        text = self._file.read().decode(errors="replace")
        # If this process dies without a word, the next one must not go on with what is out of date.
        self._clear()
        return text, age

    def close(self) -> None:
        self._file.close()

    def _clear(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._file.flush()
