"""SIGINT and SIGTERM: the first asks to stop, the second stops."""

import signal
import threading
from types import TracebackType


class Stop:
    """While it is entered, remembers that a signal asked to stop.

    Attributes:
      asked: whether one did.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before = {}

    def __enter__(self) -> "Stop":
        # Python takes signals in its main thread alone.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        return self.asked

    def _ask(self, number: int, frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
