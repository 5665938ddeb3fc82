"""`python -m bench.patient ...`: the command line of the service, with workers that only repeat what was refused.

Why it exists: it is what refusals that do not come from the rate are compared with. A refused message waits for its own
Retry-After; nothing else is held back and the rate is left alone. It is no mode of the product.
"""

from service.cli.main import main
from workers.gate import Window
from workers.pace import Pace


def _ignore(*_arguments: object, **_keywords: object) -> None:
    """Learn nothing."""


def run() -> None:
    """Run the command line without a pace that is found and a window that shrinks."""
    for kind, name in ((Pace, "refused"), (Pace, "heard"), (Window, "overloaded")):
        setattr(kind, name, _ignore)
    main()


if __name__ == "__main__":
    run()
