"""What tests of classification and rewriting share: exact arithmetic and adversarial networks."""

import os

from hypothesis import settings

SCALE = float(os.environ.get("LEO_TEST_EXAMPLES", "1"))


def examples(count: int) -> settings:
    """Settings of a property test that tries `count` examples, or LEO_TEST_EXAMPLES times as
    many."""
    return settings(max_examples=max(1, round(count * SCALE)))
