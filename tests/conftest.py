"""Makes `support` importable, sets how many examples property tests try, and finds ../shared.

LEO_TEST_EXAMPLES=N scales every property test to N times its usual number of examples, drawn at
random (`--hypothesis-seed` repeats a run); without it the examples are the same in every run.
"""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

TESTS = Path(__file__).resolve().parent
SHARED = TESTS.parent.parent / "shared"

if str(TESTS) not in sys.path:
    sys.path.insert(0, str(TESTS))

settings.register_profile(
    "default",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    print_blob=True,
)
settings.register_profile("campaign", settings.get_profile("default"), derandomize=False)
settings.load_profile("campaign" if "LEO_TEST_EXAMPLES" in os.environ else "default")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not SHARED.is_dir():
        absent = pytest.mark.skip(reason="the shared models are not beside this checkout")
        for item in items:
            if item.get_closest_marker("shared"):
                item.add_marker(absent)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The directory of shared models; skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the shared models are not beside this checkout")
    return SHARED
