"""What jaxtyping checks calls with under test (pyproject.toml): shapes and types where arrays come or go.

mypy has seen all other types, and to check each of them at each call took 6 % of the time of the tests.
"""

from collections.abc import Callable
from typing import Any

from beartype import beartype


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    return beartype(function) if "jaxtyping." in str(function.__annotations__) else function
