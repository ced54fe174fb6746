"""The order in which modules may import each other, and what stays light."""

import ast
import fnmatch
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "ganiqa_jax"
FACE = "ganiqa_jax"

# A module imports from its own row and from rows above it, never in a circle.
ROWS = {
    0: ("errors", "types", "config_json", "network_config", "data_config", "config"),
    1: (
        "home",
        "compile_cache",
        "progress",
        "image",
        "image.*",
        "losses",
        "metrics",
        "optim",
        "mesh",
        "processes",
        "models",
        "models.*",
        "data",
        "data.records",
        "data.facts",
        "data.folders",
        "data.labels",
        "data.agiqa3k",
        "data.aigciqa2023",
        "data.bapps",
        "data.csiq",
        "data.gfiqa20k",
        "data.kadid10k",
        "data.kadis",
        "data.koniq10k",
        "data.live",
        "data.livec",
        "data.pieapp",
        "data.pipal",
        "data.prepared",
        "data.pristine",
        "data.sr4kiqa",
        "data.synthetic",
        "data.table",
        "data.tid2013",
        "data.distortions",
        "data.distortions_*",
        "data.catalog",
        "data.protocols",
        "data.online",
        "data.mixture",
        "data.reading",
        "data.picture_cache",
        "data.sources",
        "scoring",
        "scoring.cropping",
        "scoring.decode",
    ),
    2: (
        "steps",
        "terms",
        "checkpoint",
        "card",
        "release",
        "released",
        "convert",
        "convert.*",
        "parity",
        "ranking",
        "rundir",
        "arrays",
        "differentiable",
        "scoring.batching",
        "scoring.archives",
        "scoring.cells",
        "scoring.durable",
        "scoring.find",
        "scoring.forward",
        "scoring.loading",
        "scoring.maps",
        "scoring.parquet",
        "scoring.parts",
        "scoring.paths",
        "scoring.on_jax",
        "scoring.on_onnx",
        "scoring.rows",
        "scoring.shards",
    ),
    3: ("data.pipeline", "data.tfds_builder", "data.tfds_picture"),
    4: (
        "pseudo",
        "compared",
        "moments",
        "probe",
        "loop",
        "train",
        "choices",
        "evaluate",
        "demo",
        "export",
        "export.*",
        "scoring.bench",
        "scoring.computing",
        "scoring.engine",
        "scoring.runs",
        "report",
        "report.*",
    ),
    5: ("cli", "cli.*", "start", "integrations", "integrations.*"),
}
INPUT_ROW = 3
LONGEST_FILE = 400


class Import(NamedTuple):
    """One imported module; `deferred` if it happens inside a function."""

    module: str
    line: int
    deferred: bool


def modules() -> dict[str, Path]:
    """Dotted name below the package (empty for its face) to file."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(p for p in parts if p != "__init__")] = path
    return found


def rows_of(name: str) -> list[int]:
    return [
        row
        for row, patterns in ROWS.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    ]


def imports_of(path: Path) -> list[Import]:
    return list(_imports(ast.parse(path.read_text()), deferred=False))


def _imports(node: ast.AST, deferred: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, deferred)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"relative import in line {child.lineno}"
            for alias in child.names:
                yield Import(f"{child.module}.{alias.name}", child.lineno, deferred)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.Lambda)
            yield from _imports(child, deferred or inside or _for_types_only(child))


def _for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def own_imports(path: Path) -> list[Import]:
    """Imports of modules of this package, by their names below it."""
    known = modules()
    own = []
    for item in imports_of(path):
        head, _, name = item.module.partition(".")
        if head != FACE:
            continue
        while name and name not in known:  # `from module import thing`
            name = name.rpartition(".")[0]
        if name:
            own.append(item._replace(module=name))
    return own


def test_every_module_is_in_exactly_one_row():
    misplaced = {n: rows_of(n) for n in modules() if n and len(rows_of(n)) != 1}
    assert not misplaced, "give each module one row of ROWS"


@pytest.mark.parametrize("name", [name for name in modules() if name])
def test_imports_nothing_of_a_later_row(name):
    (row,) = rows_of(name)
    upward = [
        f"line {item.line}: {item.module}"
        for item in own_imports(modules()[name])
        if rows_of(item.module) > [row]
    ]
    assert not upward


def test_imports_form_no_circle():
    graph = {
        name: {item.module for item in own_imports(path)} - {name}
        for name, path in modules().items()
        if name
    }
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


@pytest.mark.parametrize("name", [n for n in modules() if n and rows_of(n) != [3]])
def test_input_pipeline_is_imported_inside_functions(name):
    early = [
        f"line {item.line}: {item.module}"
        for item in own_imports(modules()[name])
        if rows_of(item.module) == [INPUT_ROW] and not item.deferred
    ]
    assert not early


def test_tensorflow_is_imported_by_the_input_row_alone():
    users = {
        name
        for name, path in modules().items()
        for item in imports_of(path)
        if item.module.partition(".")[0] in ("tensorflow", "tensorflow_datasets")
    }
    assert {n for n in users if rows_of(n) != [INPUT_ROW]} == set()


def test_package_never_imports_torch_scripts_tests_or_configs():
    foreign = {"torch", "torchvision", "timm", "scripts", "tests", "configs"}
    users = [
        f"{name} line {item.line}: {item.module}"
        for name, path in modules().items()
        for item in imports_of(path)
        if item.module.partition(".")[0] in foreign
        # Files of PyTorch are read by PyTorch, where somebody has one.
        and not (name == "convert.files" and item.module == "torch" and item.deferred)
    ]
    assert not users


def test_face_imports_nothing_of_the_package_before_it_is_asked():
    early = [i for i in own_imports(PACKAGE / "__init__.py") if not i.deferred]
    assert not early


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.name)
def test_file_stays_readable(path):
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


def loaded_after(names: list[str], heavy: set[str]) -> set[str]:
    """Which of `heavy` a fresh interpreter holds once it imported `names`."""
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        f"print(*({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_rows_0_to_2_and_the_command_line_load_no_tensorflow_or_torch():
    names = [
        f"{FACE}.{name}"
        for name in modules()
        if name and (rows_of(name)[0] <= 2 or name.startswith("cli"))
    ]
    heavy = {"tensorflow", "tensorflow_datasets", "torch"}
    assert loaded_after(names, heavy) == set()


def test_command_line_and_face_load_no_jax():
    names = [FACE, *(f"{FACE}.{n}" for n in modules() if n.startswith("cli"))]
    heavy = {"jax", "flax", "optax", "orbax", "scipy", "matplotlib", "PIL"}
    assert loaded_after(names, heavy) == set()
