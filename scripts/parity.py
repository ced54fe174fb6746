"""Agreement of the package with PyTorch, timm, scipy and plain NumPy, as a table.

    python scripts/parity.py                     # everything; needs the extra `parity`
    python scripts/parity.py --only blocks timm

Exit status 1 if anything is further apart than it may be. All of it is float32 on the
CPU, with random weights and batch statistics, on photographs.
"""

# pyright: reportMissingImports=false

import argparse
import importlib.metadata
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from ganiqa_jax.mesh import set_cpu_flags
from torch_reference.agreement import Row

PACKAGES = ("jax", "flax", "torch", "timm", "scipy", "numpy")
HEAD = ("compared", "arrays", "largest relative error", "allowed", "there")


def sections() -> dict[str, Callable[[], Iterator[Row]]]:
    """What is compared, by the name that `--only` takes."""
    from torch_reference import comparison_formulas as formulas
    from torch_reference import comparison_networks as networks
    from torch_reference.comparison_predecessors import predecessors
    from torch_reference.comparison_steps import runs
    from torch_reference.comparison_timm import backbones

    return {
        "metrics": formulas.correlations,
        "jnd": formulas.jnd_pictures,
        "blocks": networks.blocks,
        "networks": networks.networks,
        "timm": backbones,
        "predecessors": predecessors,
        "steps": runs,
    }


def main(arguments: Sequence[str]) -> int:
    """Prints a row as soon as it is known; 1 if one does not agree."""
    # Before JAX starts: gradients are computed as in training.
    set_cpu_flags("train")
    known = sections()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=known, default=list(known))
    chosen = parser.parse_args(arguments).only
    versions = (f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    print(f"{', '.join(versions)}; CPU, float32.\n")
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    start, apart = time.monotonic(), 0
    for name in chosen:
        for row in known[name]():
            apart += not row.agrees
            mark = "" if row.agrees else " **apart**"
            error, allowed = f"{row.error:.1e}{mark}", f"{row.tolerance:.0e}"
            cells = (row.what, str(row.arrays), error, allowed, row.where or "output")
            print(f"| {' | '.join(cells)} |", flush=True)
    print(f"\n{apart} rows apart; {time.monotonic() - start:.0f} s.")
    return int(apart > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
