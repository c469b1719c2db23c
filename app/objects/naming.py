"""How a durable file gets its key: by a link, which never overwrites, and fsyncs of directories.

Which directories are durable already is remembered, up to a bound. The process that does this apart
(`naming_main`) imports nothing else of ours, since it is one more for each that stores.
"""

import os
from collections.abc import Iterator

from app.objects.recent import Recent

_DURABLE_DIRECTORIES = 16_384


class Naming:
    """Gives files their names below a directory. Threads may share it."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._durable: Recent[str, bool] = Recent(_DURABLE_DIRECTORIES)

    def name(self, staged: str, path: str) -> None:
        """Give a durable file another name, which is durable on return.

        Raises:
            FileExistsError: there is such a file.
            FileNotFoundError: the root is not there.
            OSError: it failed, and nothing has that name.
        """
        self._link(staged, path)
        directory = os.path.dirname(path)  # noqa: PTH120 - hot, plain strings
        new = list(self.not_durable(directory))
        try:
            for changed in {directory, *map(os.path.dirname, new)}:
                sync_directory(changed)
        except OSError:
            os.unlink(path)  # noqa: PTH108
            raise
        for one in new:
            self._durable.add(one, True)

    def _link(self, staged: str, path: str) -> None:
        try:
            os.link(staged, path)
        except FileNotFoundError:
            if not os.path.isdir(self._root):  # noqa: PTH112
                raise  # its disk may not be mounted
            os.makedirs(os.path.dirname(path), mode=0o750, exist_ok=True)  # noqa: PTH103, PTH120
            os.link(staged, path)

    def not_durable(self, directory: str) -> Iterator[str]:
        """Yield the directories from this one up whose own names are not known to be durable."""
        while directory != self._root and not self._durable.get(directory):
            yield directory
            directory = os.path.dirname(directory)  # noqa: PTH120


def sync_directory(path: str) -> None:
    """Make the names in a directory durable.

    Raises:
        OSError: it failed.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
