"""Items made in a thread beside the code that uses them."""

import atexit
import threading
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar, cast

Item = TypeVar("Item")

_END = object()
_CHECK_SECONDS, _FAREWELL_SECONDS = 0.2, 2.0


class ReadAhead(Generic[Item]):
    """The items of an iterable in order, made in a thread, a few before they are asked for.

    Decoders and numpy let other threads run while they work, so items come as fast as from a
    process beside this one, and none has to be sent: frames of any size need no shared memory.

    Each iteration has a thread of its own. It ends after the last item; with an error, which
    reaches the consumer in the place of an item; and when the consumer stops early. One that waits
    for a file for ever is left behind, and holds up nobody.

    Args:
        source: Gives the items; it is iterated in the thread.
        ahead: Most items that are being made or wait, at least 1.
        check: Called before each item, and again and again while one is waited for; what it raises
            ends the iteration.

    Raises:
        ValueError: `ahead` is out of its range.
    """

    def __init__(
        self, source: Iterable[Item], ahead: int = 2, check: Callable[[], object] | None = None
    ) -> None:
        if ahead < 1:
            raise ValueError(f"{ahead} items ahead: wanted at least 1")
        self.source, self.ahead, self.check = source, ahead, check

    def __iter__(self) -> Iterator[Item]:
        """Yields each item once; raises what making it has raised."""
        made: SimpleQueue = SimpleQueue()
        room, stopped = threading.Semaphore(self.ahead), threading.Event()
        thread = threading.Thread(
            # a daemon: the exit of the process does not wait for one that waits for a file
            target=self._make,
            args=(made, room, stopped),
            name="read ahead",
            daemon=True,
        )

        def stop() -> None:
            stopped.set()
            room.release()
            if thread is not threading.current_thread():
                thread.join(_FAREWELL_SECONDS)

        # The error that ends a script may hold this iterator until after the interpreter's end,
        # which a thread in the midst of a library's code does not survive.
        atexit.register(stop)
        thread.start()
        try:
            while True:
                item = self._next(made)
                if item is _END:
                    return
                room.release()
                yield cast(Item, item)
                del item  # else one more would be in memory while the next is waited for
        finally:
            atexit.unregister(stop)
            stop()

    def _make(self, made: SimpleQueue, room: threading.Semaphore, stopped: threading.Event) -> None:
        try:
            items = iter(self.source)
            item = None
            while item is not _END:
                room.acquire()
                if stopped.is_set():
                    return
                item = next(items, _END)
                made.put((item, None))
        except BaseException as error:
            made.put((_END, error))

    def _next(self, made: SimpleQueue) -> Item | object:
        while True:
            if self.check is not None:
                self.check()
            try:
                item, error = made.get(timeout=_CHECK_SECONDS)
            except Empty:
                continue
            if error is not None:
                raise error
            return item
