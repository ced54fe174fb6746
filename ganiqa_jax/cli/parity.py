"""`ganiqa parity`: do two sets of scores or activations agree?"""


def parity() -> None:
    """x"""
