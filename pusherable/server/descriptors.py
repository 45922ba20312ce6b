"""How many connections the system allows this process: each takes a file descriptor."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FileLimit:
    """How many files may be open; ``before`` is how many it were."""

    before: int
    now: int


def raise_file_limit() -> FileLimit | None:
    """Take as many as the administrator allows; ``None`` where there is no limit, as on Windows."""
    try:
        import resource
    except ImportError:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    for wanted in (hard, 1_048_576, 10_240):
        # macOS calls the hard limit infinite and takes no more than the kernel's own.
        if soft < wanted or wanted == resource.RLIM_INFINITY:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            except (OSError, ValueError):
                continue
            return FileLimit(soft, wanted)
    return FileLimit(soft, soft)
