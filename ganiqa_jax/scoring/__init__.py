"""Scoring of picture files: decode, crops, batches, rows.

`engine.create_scorer` is the entry; `decode` and `rows` stand alone.
"""
