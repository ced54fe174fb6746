"""The command starts again with large pages, where that can help."""

import os
import subprocess
import sys

import pytest

from ganiqa_jax import start

SCRIPT = """
import os, sys
from ganiqa_jax import cli, start

def told():
    print(os.getpid(), os.environ.get("GLIBC_TUNABLES"), *sys.argv[1:], sep="|")
    return 3

cli.main = told
start.KERNEL = start.Path(os.environ["KERNEL"])
sys.exit(start.main())
"""


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """A system whose pages are large on request, and a C library that asks."""
    path = tmp_path / "enabled"
    path.write_text("always [madvise] never\n")
    monkeypatch.setattr(start, "KERNEL", path)
    monkeypatch.setattr(start.os, "confstr", lambda name: "glibc 2.36")
    return path


def test_pages_are_asked_for_where_nobody_has_decided(kernel):
    assert start.large_pages_help({})
    assert not start.large_pages_help({"GANIQA_LARGE_PAGES": "off"})
    assert not start.large_pages_help({"GLIBC_TUNABLES": ""})


@pytest.mark.parametrize(
    "setting", ["[always] madvise never", "always madvise [never]"]
)
def test_not_where_the_system_decides(kernel, setting):
    kernel.write_text(setting)
    assert not start.large_pages_help({})


@pytest.mark.parametrize("library", ["glibc 2.31", "musl", "", None])
def test_not_where_the_library_does_not_know_them(kernel, monkeypatch, library):
    monkeypatch.setattr(start.os, "confstr", lambda name: library)
    assert not start.large_pages_help({})


def test_not_on_other_systems(kernel, monkeypatch):
    monkeypatch.delattr(start.os, "confstr")
    assert not start.large_pages_help({})
    kernel.unlink()
    assert not start.large_pages_help({})


@pytest.mark.parametrize("switch", ["on", "off"])
def test_the_process_goes_on_with_its_number_words_and_status(kernel, switch):
    script = kernel.with_name("script.py")
    script.write_text(SCRIPT)
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    environment |= {"KERNEL": str(kernel), "GANIQA_LARGE_PAGES": switch}
    process = subprocess.Popen(
        [sys.executable, script, "score", "two words", "*"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    said, _ = process.communicate()
    version = os.confstr("CS_GNU_LIBC_VERSION") or ""
    helps = switch == "on" and version.startswith("glibc") and version >= "glibc 2.35"
    pages = "glibc.malloc.hugetlb=1" if helps else "None"
    assert said == f"{process.pid}|{pages}|score|two words|*\n"
    assert process.returncode == 3
