"""What is in production, and how a model gets there. The flows `retrain` and `retrain_detector` run it:

python -m tasks.promote snapshot_champion REGISTRY
python -m tasks.promote promote JUDGED REGISTRY [SPLIT]
python -m tasks.promote by_hand MODEL REGISTRY [SPLIT]
python -m tasks.promote restore REGISTRY
python -m tasks.promote same_classes REGISTRY SPLIT
"""

import hashlib
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

from tasks.io import as_json, bad_input, put_back, read_json, whole, write_json, write_whole
from tasks.revision import revision

MODEL, RECORD = "model.safetensors", "production.json"
SEEN = "seen.parquet"  # sha256 of each image of the pool that the model learned from
LEARNED = "learned_from.json"  # tasks.training.NOTE, which comes with torch: kept by Git, where it is known
RUN = "run.json"  # the text of each of STORY when it was promoted: what the next run writes over
STORY = ("dvc.lock", "dvc.yaml", "params.yaml")
FILES = (MODEL, RECORD, SEEN, LEARNED, RUN)
TAKEN_BACK = "taken_back.json"  # sha256 of models that a person has taken back


def snapshot_champion(registry: Path) -> Path:
    """registry/production -> registry/champion: what the next candidate has to beat. Nothing where there is nothing."""
    return _become(registry / "champion", registry / "production")


def promote(judged: Path, registry: Path, split: Path | None = None) -> Path:
    """verdict.json, the winner's model -> registry/production: model.safetensors and production.json, both or neither.

    learned_from.json goes with them where the judge has it, with the split that it was trained on seen.parquet, by
    which `watch` knows new images, and run.json, by which `lineage` knows where it comes from. Twice is once. Raises
    BadInput, and leaves production as it was, unless the verdict promotes the model, the model is the one that was
    judged, against what is in production, and it answers.
    """
    if not (judged / "verdict.json").exists():
        raise bad_input(f"{judged} holds no verdict.json. Name what a judge wrote, such as work/judge")
    verdict = read_json(judged / "verdict.json")
    if not verdict["promote"]:
        raise bad_input(f"{judged} keeps the {verdict['winner']} in place. {' '.join(verdict['reasons'])}")
    digest = smoke_test(judged / MODEL)
    if digest != verdict["digests"][verdict["winner"]]:
        raise bad_input(f"{judged / MODEL} is not the model that was judged. `dvc repro` judges it again")
    if digest in taken_back(registry):
        way_out = all_the_same(judged, registry, split)
        raise bad_input(f"{judged} promotes a model that a person has taken back. {way_out}")
    before = _record(registry / "production")
    _check_current(judged, verdict, before.get("model"), registry, split)
    record = {"model": digest, "verdict": sha256_of(judged / "verdict.json")}
    return _put(judged / MODEL, record, before, registry, split)


def _check_current(judged: Path, verdict: dict[str, Any], now: str | None, registry: Path, split: Path | None) -> None:
    """BadInput where production, which holds the model `now`, or the split is no longer what the verdict is about: a
    day may lie between. The verdicts of compression are about no model in production.
    """
    told = verdict["digests"]
    rival = {"production": told.get("champion"), "baseline": None}
    if verdict.get("champion") in rival and now not in (told[verdict["winner"]], rival[verdict["champion"]]):
        raise bad_input(
            f"{judged} was judged against another model than {registry / 'production'} holds now. Run the flow again, "
            f"which judges against that one. {all_the_same(judged, registry, split)}"
        )
    if split is not None and told.get("split") not in (None, sha256_of(split / "split.parquet")):
        raise bad_input(f"{split} has changed since {judged} was judged on it. `dvc repro` judges again")


def all_the_same(judged: Path, registry: Path, split: Path | None) -> str:
    """What promotes a model that no verdict may promote, in words."""
    command = " ".join(map(str, filter(None, (judged, registry, split))))
    return f"`python -m tasks.promote by_hand {command}` promotes it all the same"


def by_hand(model: Path, registry: Path, split: Path | None = None) -> Path:
    """A folder's model -> registry/production because a person says so: as `promote`, but no verdict is asked."""
    record = {"model": smoke_test(model / MODEL), "verdict": None}
    production = _put(model / MODEL, record, _record(registry / "production"), registry, split)
    if record["model"] in (known := taken_back(registry)):
        write_whole(registry / TAKEN_BACK, as_json(sorted(known - {record["model"]})).encode())
    return production


def _put(
    model: Path, record: dict[str, Any], before: dict[str, Any], registry: Path, split: Path | None
) -> Path:  # fmt: skip
    """`before` is the record of what is in production now."""
    production = registry / "production"
    if before | record == before and (split is None or "seen" in before):
        return production
    with _changed(production) as folder:
        shutil.copyfile(model, folder / MODEL)
        if (note := model.with_name(LEARNED)).exists():
            shutil.copyfile(note, folder / LEARNED)
        if split is not None:
            record["seen"] = _write_seen(split, folder / SEEN)
        if all(Path(name).exists() for name in STORY):
            write_json(folder / RUN, {name: Path(name).read_text() for name in STORY})
        write_json(folder / RECORD, record | {"git": revision(registry), "previous": before.get("model")})
    return production


def restore(registry: Path) -> Path:
    """registry/champion -> registry/production: a person takes a promotion back, and no verdict repeats it.

    Raises BadInput where both hold the same model, as they do when a flow has begun since.
    """
    now, champion = (_record(registry / place) for place in ("production", "champion"))
    if now.get("model") == champion.get("model"):
        raise bad_input(
            f"{registry / 'champion'} holds what {registry / 'production'} does, so there is nothing to take back. The "
            f"model before it was {now.get('previous')}: `git log {registry / 'production' / RECORD}` finds its commit"
        )
    if now:
        write_whole(registry / TAKEN_BACK, as_json(sorted({*taken_back(registry), now["model"]})).encode())
    return roll_back(registry)


def roll_back(registry: Path) -> Path:
    """registry/champion -> registry/production: a promotion that did not end well has never been."""
    return _become(registry / "production", registry / "champion")


def taken_back(registry: Path) -> set[str]:
    """sha256 of the models that a person has taken back, and promoted by hand no more."""
    file = registry / TAKEN_BACK
    return set(read_json(file)) if file.exists() else set()


def same_classes(registry: Path, split: Path) -> Path:
    """The split. Raises BadInput where registry/champion knows other classes, as the judge would at the end."""
    champion = registry / "champion"
    if (champion / MODEL).exists():
        from tasks.judge import same_classes  # it loads torch
        from tutelage.data.manifest import classes_of, read_split
        from tutelage.models.files import read_weights

        about, _, _ = read_weights(champion / MODEL)
        flow = "retrain_detector" if about.get("task") == "detection" else "retrain"
        same_classes(champion, about["classes"], classes_of(read_split(split)), flow=flow)
    return split


def smoke_test(model: Path) -> str:
    """The file's sha256, once the network in it has given finite numbers for a black image. Raises BadInput.

    A detector may find nothing there, also where it is broken, so its weights must be finite too.
    """
    import torch

    from tutelage.models.files import load_detector, load_model, read_weights

    about, weights, digest = read_weights(model)
    with torch.inference_mode():
        if about.get("task") == "detection":
            detector, of = load_detector(model)
            (said,) = detector(torch.zeros(1, 3, of.image_size, of.image_size))
            numbers = [said.places, said.scores, *weights.values()]
            what = "holds weights, or answers a black image with numbers, that are not finite"
        else:
            net, card = load_model(model)
            numbers = [net(torch.zeros(1, 3, card.image_size, card.image_size)).logits]
            what = f"answers {numbers[0].flatten().tolist()} to a black image, which is no finite number"
    if not all(part.isfinite().all() for part in numbers):
        raise bad_input(f"{model} {what}")
    return digest


def _become(target: Path, source: Path) -> Path:
    """`target` gets the model and the record of `source`, or loses its own."""
    record = _record(source)
    _recover(target)
    kept = [name for name in FILES if record and (source / name).exists()]
    lost = [name for name in FILES if name not in kept]
    if _digests(target) != _digests(source) or any(_tracked(target / name).exists() for name in lost):
        with _changed(target, source) as folder:
            for name in kept:
                shutil.copyfile(source / name, folder / name)
    return target


def _tracked(file: Path) -> Path:
    """Where DVC keeps the file's hash."""
    return file.with_name(f"{file.name}.dvc")


def _write_seen(split: Path, path: Path) -> str:
    """seen.parquet, and its sha256."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from tutelage.data.manifest import read_split

    table = read_split(split)
    pool = table.filter(pc.equal(table["role"], "pool")).select(["sha256"]).replace_schema_metadata()
    pq.write_table(pool, path, compression="zstd")
    return sha256_of(path)


def _record(folder: Path) -> dict[str, Any]:
    """production.json, {} where nothing was promoted yet. Raises BadInput where the files are not those it names."""
    _recover(folder)
    if not (folder / RECORD).exists():
        if (folder / MODEL).exists():
            begin = "remove the model to begin without one"
            raise bad_input(
                f"{folder / MODEL} lacks its {RECORD}: `git checkout {folder / RECORD}` restores it, or {begin}"
            )
        return {}
    record = read_record(folder / RECORD)
    told = {folder / name: record.get(key) for name, key in ((MODEL, "model"), (SEEN, "seen"))}
    if missing := [str(file) for file in told if (told[file] or _tracked(file).exists()) and not file.exists()]:
        raise bad_input(f"missing: {', '.join(missing)}. `dvc pull {' '.join(missing)}` fetches what is")
    for file, digest in told.items():
        if digest and sha256_of(file) != digest:  # a record of before names no seen.parquet
            raise bad_input(f"{file} is not what {RECORD} says. `dvc checkout --force {file}` restores it")
    return record


def read_record(path: Path) -> dict[str, Any]:
    """The content of production.json. Raises BadInput for what is none."""
    try:
        record: dict[str, Any] = read_json(path)
        record["model"]
    except (ValueError, KeyError, TypeError):
        raise bad_input(
            f"{path} is no record of a promotion, which names its `model`. `git checkout {path}` restores it"
        ) from None
    return record


def _digests(folder: Path) -> dict[str, str]:
    return {name: sha256_of(folder / name) for name in FILES if (folder / name).exists()}


@contextmanager
def _changed(*places: Path) -> Iterator[Path]:
    """What takes the place of the first of `places` when the block ends without an error: it has all of it but FILES.

    DVC's hashes come from where a place has the same file. One of what was there before would bring that back.
    """
    hashes = [_tracked(Path(name)).name for name in FILES]
    with whole(places[0]) as part:
        shutil.copytree(places[0], part, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*FILES, *hashes))
        yield part
        for hashed in (_tracked(place / name) for place in places for name in FILES):
            before, now = hashed.with_suffix(""), part / hashed.stem
            if all(map(Path.exists, (hashed, before, now))) and sha256_of(before) == sha256_of(now):
                shutil.copyfile(hashed, _tracked(now))


def _recover(folder: Path) -> None:
    put_back(folder)
    folder.mkdir(parents=True, exist_ok=True)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


VERBS: dict[str, Callable[..., Path]] = {
    "snapshot_champion": snapshot_champion,
    "promote": promote,
    "by_hand": by_hand,
    "restore": restore,
    "roll_back": roll_back,
    "same_classes": same_classes,
}


def main(*words: str) -> int:
    verb, *paths = words or ("",)
    try:
        signature(VERBS[verb]).bind(*paths)
    except (KeyError, TypeError):
        print(f"There is no `{' '.join(words)}`. {__doc__.strip()}", file=sys.stderr)
        return 2
    try:
        place = VERBS[verb](*map(Path, paths))
    except ValueError as error:
        print(f"{verb}: {error}", file=sys.stderr)
        return 2
    if place.name == "production":
        print(f"{place} holds {_record(place).get('model', 'no model')}")
    if verb == "by_hand" and (files := [file for name in (MODEL, SEEN) if (file := place / name).exists()]):
        print(f"`dvc add {' '.join(map(str, files))}` and `dvc push` keep it, as the next flow would")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
