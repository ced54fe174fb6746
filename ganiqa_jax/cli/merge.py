"""`ganiqa merge`: files of one scoring job become one, proven complete."""

import json
from pathlib import Path
from typing import Annotated

import tyro


def merge(
    files: tyro.conf.Positional[
        Annotated[tuple[Path, ...], tyro.conf.arg(metavar="ROWS...")]
    ],
    /,
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
    expect: tuple[str, ...] = (),
    recursive: bool = True,
    json_output: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Put the files of a job together, if every input was scored once by one model.

    Shares written with --shard tell by their names if one of them is missing.
    Exit status 4: an input has two rows or none, a share is missing, or there are two
    models; nothing is written then.

      ganiqa merge scores.*-of-8.jsonl --out scores.jsonl
      ganiqa merge scores.*-of-8.jsonl --expect pictures/ --out scores.parquet
      ganiqa merge monday.jsonl tuesday.jsonl --expect @list.txt

    Args:
        files: of `ganiqa score` or `ganiqa compare`, or folders of such.
        out: .jsonl, .csv or .parquet file of all rows; without it, they are checked.
        expect: what was to be scored, as it was given to `ganiqa score`.
        recursive: also search folders of `expect` in folders.
        json_output: print what was found as JSON.
    """
    from ganiqa_jax.scoring.archives import open_archives
    from ganiqa_jax.scoring.find import find_pictures
    from ganiqa_jax.scoring.parts import names_of
    from ganiqa_jax.scoring.paths import Paths
    from ganiqa_jax.scoring.rows import SUFFIXES
    from ganiqa_jax.scoring.shards import merge as merge_files

    found: list[Path] = []
    for path in files:
        if path.is_dir():
            found += sorted(p for p in path.iterdir() if p.suffix in SUFFIXES)
        else:
            found.append(path)
    expected = None
    if expect:
        pictures = find_pictures(expect, recursive=recursive)
        expected = names_of(Paths(open_archives(pictures)))
    merged = merge_files(found, out, expected)
    if json_output:
        print(json.dumps({"files": len(found), "rows": merged.rows}))
    else:
        proven = ", all that was expected" if expect else ""
        where = f" Rows in {out}." if out else ""
        print(f"{merged.rows} inputs in {len(found)} files, each once{proven}.{where}")
