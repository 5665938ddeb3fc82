"""The next version of the program: the same code with a newer format of entries; `-m tests.flow.newer serve ...`.

Rule guarded: what is replaced is what a change of the format would change, the functions that write and read an entry,
before anything has imported them. All else is the product as it is.
"""

from fanout.queue import entry
from tests.newer_format import NEWER, decode, encode


def main() -> None:
    """Run the command line of the newer version."""
    entry.VERSION = NEWER
    entry.encode, entry.decode = encode, decode
    from service.cli.main import main as run  # noqa: PLC0415 - it imports the functions replaced above

    run()


if __name__ == "__main__":
    main()
