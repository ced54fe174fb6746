"""Where the command `ganiqa` starts: anew with large pages, if the system has them.

Networks write maps of tens of megabytes, and the C library gets memory for each from
the system and gives it back, by default in pages of 4 KiB. On two cores pages of 2 MiB
save JAX a fifth of its time and onnxruntime a tenth. glibc reads its settings when a
process begins, so that the process has to begin again; it keeps its number.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

SWITCH = "GANIQA_LARGE_PAGES"
"""`off` leaves the process as it is."""

SETTINGS = "GLIBC_TUNABLES"
LARGE_PAGES = "glibc.malloc.hugetlb=1"
FIRST_GLIBC = (2, 35)
"""The first version that knows the setting."""

KERNEL = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def main() -> int:
    """Runs the command line of this process; returns the exit status."""
    with_large_pages()
    from ganiqa_jax import cli  # brings the parser along

    return cli.main()


def with_large_pages() -> None:
    """Begins this process again with large pages, if they help."""
    if large_pages_help(os.environ):
        os.environ[SETTINGS] = LARGE_PAGES
        try:
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
        except OSError:  # then without
            del os.environ[SETTINGS]


def large_pages_help(environment: Mapping[str, str]) -> bool:
    """Whether large pages are there for who asks, and nobody has decided yet."""
    if environment.get(SWITCH, "").lower() == "off" or SETTINGS in environment:
        return False
    try:
        on_request = "[madvise]" in KERNEL.read_text()
        library, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        numbers = tuple(int(part) for part in version.split("."))
    except (AttributeError, OSError, ValueError):  # not Linux, or not glibc
        return False
    return on_request and library == "glibc" and numbers >= FIRST_GLIBC
