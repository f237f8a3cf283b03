"""Teacher-Student Curriculum Learning. Matiisen, Oliver, Cohen, Schulman. 2017. https://arxiv.org/abs/1707.00183

Which task a student is to train on next is a bandit's choice: the arm's reward is how fast the student's score changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from tutelage.methods.method import check
from tutelage.types import BadInput

Points = tuple[tuple[float, float], ...]  # time and score


@dataclass(frozen=True, kw_only=True)
class TSCL:
    """Train on what is being learned fastest, and with `absolute` also on what is being forgotten fastest."""

    __pydantic_config__ = {"extra": "forbid"}
    variant: Literal["online", "naive", "window", "sampling"] = "sampling"  # alg. 2, 1, 3 and 4
    absolute: bool = True  # |progress|, sec. 3: forgotten tasks are returned to; off in the authors' script
    policy: Literal["greedy", "boltzmann"] = "greedy"  # epsilon-greedy; "sampling" draws rewards and takes the highest
    alpha: float = 0.1  # share of a new reward in Q
    window: int = 10  # K, scores or rewards that are looked back on
    epsilon: float = 0.1  # share of the choices that are random, of "greedy"
    temperature: float = 0.0004  # tau of "boltzmann"

    def __post_init__(self) -> None:
        check(self, shares=("alpha", "epsilon"), positive=("temperature",))
        if self.window < 2:
            raise BadInput(f"window of TSCL is {self.window}: a slope takes at least 2 scores. 10 is the default")


@dataclass(frozen=True)
class Curriculum:
    """What a bandit remembers. It is replaced, never changed: a checkpoint of it is `state`."""

    time: int  # choices made
    progress: tuple[float, ...]  # Q of each task; 1 where it was not tried yet
    scores: tuple[Points, ...]  # of each task: the last of them, newest last
    rewards: tuple[tuple[float, ...], ...]  # of each task: the last of them, newest last
    random: dict[str, Any]  # of numpy's generator

    def state(self) -> dict[str, Any]:
        """As plain numbers, lists and words."""
        return {
            "time": self.time,
            "progress": list(self.progress),
            "scores": [[list(point) for point in own] for own in self.scores],
            "rewards": [list(own) for own in self.rewards],
            "random": self.random,
        }

    @classmethod
    def of(cls, state: dict[str, Any]) -> "Curriculum":
        """The curriculum that goes on where `state` was taken."""
        scores = tuple(tuple((float(when), float(score)) for when, score in own) for own in state["scores"])
        rewards = tuple(tuple(own) for own in state["rewards"])
        return cls(state["time"], tuple(state["progress"]), scores, rewards, state["random"])


def begin(tasks: int, *, seed: int) -> Curriculum:
    """Nothing is known of any of the tasks. Raises BadInput where there are none."""
    if tasks < 1:
        raise BadInput(f"a curriculum of {tasks} tasks has nothing to choose from: name at least one")
    none: tuple[Any, ...] = ((),) * tasks
    return Curriculum(0, (1.0,) * tasks, none, none, dict(np.random.default_rng(seed).bit_generator.state))


def choose(method: TSCL, now: Curriculum) -> tuple[int, Curriculum]:
    """The task to train on next, and the curriculum after that choice."""
    rng = np.random.default_rng()
    rng.bit_generator.state = now.random
    worth = np.array(now.progress)
    if method.variant == "sampling":  # Thompson: of each task one of its last rewards, at random
        worth = np.array([rng.choice(own) if own else 1.0 for own in now.rewards])
    if method.absolute:
        worth = np.abs(worth)
    # Scores have no scale of their own: whatever the others made, what has no reward yet is tried before them.
    untried = [not own for own in now.rewards]
    worth[untried] = np.nextafter(worth.max(), np.inf)
    task = _drawn(method, worth, rng)
    return task, Curriculum(now.time + 1, now.progress, now.scores, now.rewards, dict(rng.bit_generator.state))


def learn(method: TSCL, now: Curriculum, task: int, scores: Sequence[float]) -> Curriculum:
    """The curriculum after the student trained on `task`; `scores` are what it then scored there, higher is better.

    "naive" takes one score for each of its tries (eq. 5: K of them), the others one. Raises BadInput otherwise.
    """
    wanted = method.window if method.variant == "naive" else 1
    if len(scores) != wanted or not np.isfinite(scores).all():
        raise BadInput(f"{len(scores)} scores ({list(scores)}), where {method.variant} takes {wanted} finite ones")
    before = now.scores[task]
    points = tuple((float(now.time + place), float(score)) for place, score in enumerate(scores))
    kept = (before + points)[-method.window :]
    reward: float | None
    match method.variant:
        case "naive":
            reward = slope(points)
            kept = points
        case "window":
            reward = slope(kept) if len(kept) > 1 else None
        case "online" | "sampling":
            reward = points[-1][1] - before[-1][1] if before else None
    if reward is None:  # one score is no progress yet: the task stays as promising as one that was never tried
        return _with(now, task, now.progress[task], kept, now.rewards[task])
    tried = bool(now.rewards[task])
    share = method.alpha if tried and method.variant in ("online", "naive") else 1.0
    progress = share * reward + (1 - share) * now.progress[task]
    return _with(now, task, progress, kept, (now.rewards[task] + (reward,))[-method.window :])


def slope(points: Points) -> float:
    """Of the line through points (time, score) with the least squares."""
    time, score = np.array(points, np.float64).T
    apart = time - time.mean()
    return float((apart * (score - score.mean())).sum() / max((apart**2).sum(), 1e-12))


def _drawn(method: TSCL, worth: Float[np.ndarray, " n"], rng: np.random.Generator) -> int:
    if method.policy == "boltzmann" and method.variant != "sampling":
        odds = np.exp((worth - worth.max()) / method.temperature)
        return int(rng.choice(len(worth), p=odds / odds.sum()))
    if method.variant != "sampling" and rng.random() < method.epsilon:
        return int(rng.integers(len(worth)))
    return int(rng.choice(np.flatnonzero(worth == worth.max())))


def _with(now: Curriculum, task: int, progress: float, scores: Points, rewards: tuple[float, ...]) -> Curriculum:
    def put(all_: tuple[Any, ...], own: Any) -> tuple[Any, ...]:
        return (*all_[:task], own, *all_[task + 1 :])

    return Curriculum(
        now.time, put(now.progress, progress), put(now.scores, scores), put(now.rewards, rewards), now.random
    )
