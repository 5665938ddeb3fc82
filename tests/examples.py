"""With how many examples a property is tried: with all of them, or with a tenth in `make quick`."""

import os

IS_QUICK = bool(os.environ.get("QUICK_EXAMPLES"))


def examples(count: int) -> int:
    """Return how many examples to try of the `count` that the whole suite tries."""
    return count // 10 if IS_QUICK else count
