"""What is installed: metadata, data files, dependencies, constraints."""

import ast
import importlib.metadata
import importlib.resources
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import ganiqa_jax

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "ganiqa_jax"

# Adapters to engines that whoever uses them has already.
OPTIONAL = {
    "onnx",
    "onnxruntime",
    "openpyxl",
    "pyarrow",
    "ray",
    "skimage",
    "sklearn",
    "tensorboardX",
    "torch",
}


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def constraints() -> dict[str, str]:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][\w.]*", pin) for pin in pins)
    return {canonicalize_name(n): v for n, v in (pin.split("==") for pin in pins)}


def requirements(project: dict, *extras: str) -> list[Requirement]:
    named = [*project["dependencies"]]
    for extra in extras:
        named += project["optional-dependencies"][extra]
    return [r for r in map(Requirement, named) if r.name != project["name"]]


def test_version_is_the_one_of_the_project(project):
    assert ganiqa_jax.__version__ == project["version"]


def test_every_public_name_is_there():
    missing = [n for n in ganiqa_jax.__all__ if not hasattr(ganiqa_jax, n)]
    assert not missing
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ganiqa_jax.__getattr__("nothing")


def test_data_files_are_beside_the_code():
    files = importlib.resources.files("ganiqa_jax")
    assert files.joinpath("py.typed").is_file()
    assert files.joinpath("report", "page.html.j2").is_file()


def test_licence_is_apache_2(project):
    text = (REPOSITORY / "LICENSE").read_text()
    assert project["license"] == "Apache-2.0"
    assert "Apache License" in text and "Version 2.0, January 2004" in text


def test_constraints_hold_every_direct_dependency_and_fit_its_bounds(
    project, constraints
):
    for requirement in requirements(
        project, "bench", "demo", "tensorboard", "torch", "dev"
    ):
        pinned = constraints.get(canonicalize_name(requirement.name))
        assert pinned is not None, f"constraints.txt lacks {requirement.name}"
        assert requirement.specifier.contains(pinned), f"{requirement}: {pinned}"


def test_constraints_ask_for_no_accelerator(constraints):
    assert not [n for n in constraints if re.search("nvidia|cuda|libtpu|rocm", n)]


def test_installed_versions_of_the_core_fit_their_bounds(project):
    for requirement in requirements(project):
        if requirement.marker is None or requirement.marker.evaluate():
            installed = importlib.metadata.version(requirement.name)
            assert requirement.specifier.contains(installed), f"{requirement}"


def test_every_imported_package_is_a_declared_dependency(project):
    owners = importlib.metadata.packages_distributions()
    # jaxlib comes with jax, markupsafe with jinja2, tensorflow under two names.
    implied = {"jaxlib", "markupsafe", "tensorflow", "tensorflow-cpu"}
    declared = {canonicalize_name(r.name) for r in requirements(project)} | implied
    undeclared = {}
    for path in PACKAGE.rglob("*.py"):
        for name in imported(path) - set(sys.stdlib_module_names) - OPTIONAL:
            names = {canonicalize_name(owner) for owner in owners.get(name, [name])}
            if name != "ganiqa_jax" and not names & declared:
                undeclared[path.name] = name
    assert not undeclared


def test_nothing_unpickles():
    unsafe = []
    for path in [*PACKAGE.rglob("*.py"), *(REPOSITORY / "scripts").rglob("*.py")]:
        if imported(path) & {"pickle", "cPickle", "dill", "joblib", "shelve"}:
            unsafe.append(path.name)
        if re.search(
            r"allow_pickle\s*=\s*True|weights_only\s*=\s*False", path.read_text()
        ):
            unsafe.append(path.name)
    assert not unsafe


def imported(path: Path) -> set[str]:
    """Top-level names of what a file imports, wherever it does so."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found
