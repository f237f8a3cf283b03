"""The charts of a detection report. Numbers in, a figure out."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tasks.charts import BLUE, GREEN, GREY, INK, ORANGE, RED, WIDE, styled

_COLOURS = (BLUE, ORANGE, GREEN, RED, GREY, INK)
DETECTORS = (GREY, BLUE, GREEN, ORANGE)  # baseline, student, oracle, all fused: as their cards on the page
_NAMED = 6  # curves that can be told apart; more are drawn grey, and their mean in blue
_PERCENT = PercentFormatter(1, decimals=0, symbol=" %")


@styled
def precision_recall_chart(
    curves: Mapping[str, np.ndarray], *, side: float = 3.6, colours: Sequence[str] = _COLOURS
) -> Figure:
    """Precision at overlap 0.5 over recall, one line a name; of many names each in grey, and their mean."""
    figure = Figure((side + 1.6, side), layout="constrained")
    axes = figure.subplots()
    recalls = np.linspace(0, 1, 101)
    if len(curves) <= _NAMED:
        named = [
            axes.plot(recalls, curve, color=colour, linewidth=1.5, label=f"{name} ({np.mean(curve):.2f})")[0]
            for (name, curve), colour in zip(curves.items(), colours, strict=False)
        ]
    else:
        for curve in curves.values():
            axes.plot(recalls, curve, color=GREY, linewidth=0.8, alpha=0.4)
        mean = np.mean(list(curves.values()), axis=0)
        named = axes.plot(recalls, mean, color=BLUE, linewidth=2, label=f"mean of {len(curves)} ({mean.mean():.2f})")
    axes.set(xlim=(0, 1.01), ylim=(0, 1.02), xlabel="recall", ylabel="precision at overlap 0.5")
    axes.xaxis.set_major_formatter(_PERCENT)
    axes.yaxis.set_major_formatter(_PERCENT)
    if curves:  # handles: matplotlib leaves out by itself what begins with an underscore
        axes.legend(handles=named, loc="center left", bbox_to_anchor=(1, 0.5), title="AP50", alignment="left")
    return figure


@styled
def errors_chart(
    kinds: Sequence[str], counts: Mapping[str, Mapping[str, int]], costs: Mapping[str, Mapping[str, float | None]]
) -> Figure:
    """Left: errors of each kind, one bar a model. Right: the points of AP50 that mending the kind would gain."""
    figure = Figure((WIDE, 0.9 + 0.2 * len(kinds) * max(len(counts), 1)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    high = 0.8 / max(len(counts), 1)
    for number, (name, colour) in enumerate(zip(counts, DETECTORS, strict=False)):
        places = np.arange(len(kinds)) + (number - (len(counts) - 1) / 2) * high
        left.barh(places, [counts[name][kind] for kind in kinds], color=colour, height=0.9 * high, label=name)
        points = [100 * (costs[name][kind] or 0.0) for kind in kinds]
        right.barh(places, points, color=colour, height=0.9 * high)
    left.set(xlabel="errors on the test split")
    right.set(xlabel="AP50 lost to them, points")
    left.set_yticks(range(len(kinds)), kinds)
    left.set_ylim(len(kinds) - 0.4, -0.6)
    left.tick_params(length=0)
    right.tick_params(length=0)
    if len(counts) > 1:
        figure.legend(*left.get_legend_handles_labels(), loc="outside upper right", ncols=len(counts))
    return figure
