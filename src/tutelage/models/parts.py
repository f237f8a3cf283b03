"""Losses of parts of a batch that a detector has seen as one."""

from collections.abc import Callable, Sequence

from tutelage.types import Losses


def by_part(parts: Sequence[int] | None, losses: Callable[[slice], Losses]) -> Losses:
    """`losses` of each part, its number before their names, as Detector.forward promises; of all where there are none.

    `parts` is how many images each has, at least one of them some. `losses` is asked for a slice of the images. A part
    without images is a zero that is still in the graph.
    """
    if parts is None:
        return losses(slice(None))
    ends = [sum(parts[: number + 1]) for number in range(len(parts))]
    terms = [losses(slice(end - size, end)) if size else None for size, end in zip(parts, ends, strict=True)]
    some = next(each for each in terms if each is not None)
    none = {name: 0 * value for name, value in some.items()}
    return {f"{number}.{name}": (each or none)[name] for number, each in enumerate(terms) for name in some}
