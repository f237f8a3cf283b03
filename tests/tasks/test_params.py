import math

import pytest
from project import content, write

from tasks.params import load
from tasks.written import read
from tutelage.types import BadInput

LOOP = {"steps": 100, "labelled_batch": 2, "pool_batch": 2}
TURNS = {"every": 100, "learn": {"name": "tscl"}}


@pytest.fixture
def change(tmp_path):
    """params.yaml with one entry changed, by its dotted name; None removes it."""

    def changed(name, value):
        entries = content()
        *sections, last = name.split(".")
        inner = entries
        for section in sections:
            inner = inner[section]
        inner.pop(last) if value is None else inner.__setitem__(last, value)
        return write(tmp_path / "params.yaml", entries)

    return changed


def test_keys_of_which_dvc_would_make_no_stage_are_refused(change):
    """Of a bare number `foreach` makes none, and says nothing."""
    path = change("rounds", {1: {"teacher": "work/teacher"}})
    with pytest.raises(BadInput, match=r'rounds\.1: DVC makes no stage of a number. Write it in quotes, as "1"'):
        load(path)


def test_the_committed_file_is_valid(pytestconfig):
    params = load(pytestconfig.rootpath / "params.yaml")
    assert params.last == len(params.rounds)


@pytest.mark.parametrize("quota", [0, -3])
def test_a_quota_that_keeps_no_label_is_refused(change, quota):
    with pytest.raises(BadInput, match=rf"pseudo_label\.quota is {quota}: Input should be greater than 0"):
        load(change("pseudo_label.quota", quota))


PHOTOS = {"name": "resnet18", "image_size": 128}


def test_a_width_that_would_change_nothing_is_refused_where_a_network_is_made_of_it(change):
    params = load(change("network", PHOTOS))  # whoever compresses nothing need not write otherwise
    with pytest.raises(BadInput, match=r"compress.network writes width 64, but resnet18 has a width of its own"):
        params.resized(params.compress.network, "compress.network")
    assert params.resized({"name": "small_vit_2", "width": 64}, "compress.network").width == 64
    sections = ["compress.network", "compare.network", "lesson.network", "committee.members.network"]
    assert list(dict(params.idle())) == [*sections, "compress.chain.1.network"]


def test_a_round_that_would_have_its_teachers_width_is_refused_at_once(change):
    path = change("network", PHOTOS)
    entries = read(path.read_text())
    entries["rounds"]["1"]["network"] = {"width": 48}
    write(path, entries)
    with pytest.raises(BadInput, match=r"rounds\.1\.network writes width 48, but resnet18 has a width of its own"):
        load(path)


PUPIL = {"steps": 50, "labelled_batch": 1, "pool_batch": 1, "method": {"name": "must"}}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("calibrate.target_precison", 0.9, "calibrate.target_precison is not a parameter.*'target_precision'"),
        ("sed", 0, "sed is not a parameter.*'seed'"),
        ("student.method", {"name": "adamach"}, "'adamach' is not one of.*'adamatch'"),
        ("student.method", {"name": "adamatch", "confidense": 0.2}, "confidense is not a parameter"),
        ("student.method", "adamatch", "written {name"),
        ("student.steps", 0, "student.steps is 0"),
        ("student.steps", None, "student.steps is missing"),
        ("ask", [], r"ask is \[\]: it is a section\. Write its entries below it"),
        ("calibrate.target_precision", 1.5, "target_precision is 1.5"),
        ("network.name", "resnet81", "resnet81"),
        ("optimiser.ema", 1.0, "ema is 1.0"),
        ("last", 7, "last is 7"),
        (
            "rounds",
            {"1": {"teacher": "work/elsewhere"}},
            r'numbered from 1 and chained: write "1": \{teacher: work/teacher\}',
        ),
        ("rounds", {}, "rounds"),
        ("rounds.1.network", {"depth": 3}, "depth"),
        (
            "compress.network",
            {"depth": 3},
            r"compress\.network\.depth is not a parameter. Did you mean .* There are: added, .*, width",
        ),
        ("compress.chain.1.network", {"depth": 3}, r"compress\.chain\.1\.network\.depth is not a parameter"),
        ("compress.last", 2, "number them from 1 to last"),
        (
            "compress.chain.2",
            {"teacher": "work/judge", "network": {}},
            r"chain\.2\.teacher.*makes work/compress/stu",
        ),
        ("compress.judge.smaller", 0.5, "smaller is 0.5"),
        ("student.method", {"name": "metadistil"}, "'metadistil' is not .* in a loop of its own.*tasks lesson.*chain"),
        ("lesson.learn", {"name": "metadistill"}, "'metadistill' is not one of .*loops. Did you mean 'metadistil'"),
        ("lesson.learn", {"name": "sftn"}, "lesson.learn.*student"),
        ("lesson.network", {"depth": 3}, r"lesson\.network\.depth is not a parameter"),
        (
            "lesson.learn",
            {"name": "nas_student", "networks": [{"depth": 3}], "parameters": 9},
            "learn.networks.depth is not a parameter",
        ),
        ("compress.chain.1.learn", {"name": "uninformed_students"}, "make no classifier.*tasks lesson"),
        ("compress.chain.1.learn", {"name": "vad_ordinal"}, "vad_ordinal make no classifier.*tasks lesson"),
        ("lesson.learn", {"name": "vad_ordinal", "learn": {"usual": 0.95}}, "no image is both"),
        ("detection.compress.network", {"wide": 3}, "compress.network.wide is not a parameter"),
        ("network.added", [["conv4", True, False]], "'conv4': operations are"),
        ("multitask.tasks", ["depth", "dept"], "multitask.tasks.1 is 'dept'"),
        ("multitask.tasks", ["depth", "depth"], "each once"),
        ("multitask.student.pool_batch", 0, "would see no pseudo-label"),
        ("multitask.student.method", {"name": "musst"}, "'musst' is not one of.*'must'"),
        (
            "multitask.student.method",
            {"name": "ail_regression"},
            "'ail_regression' is not one of.*runs as multitask:ail_regression.*There are: mic, must",
        ),
        ("compact_depth.method", {"name": "must"}, "'must' is not one of the 5 methods by which a given teacher"),
        (
            "compact_depth.network",
            {"image_size": 32},
            r"network.image_size is 32, but .* at 48 pixels.*leave image_size out",
        ),
        ("compact_depth.network", {"wide": 3}, r"compact_depth\.network\.wide is not a parameter"),
        ("multitask.network.detector.kind", "retinanet", "takes heads of fcos"),
        ("multitask.student.turns", {"every": 50, "learn": {"name": "tscll"}}, "guides of turns. Did you mean 'tscl'"),
        ("multitask.student.turns", {"every": 60, "learn": {"name": "tscl"}}, "steps is 450, no whole number of turns"),
        (
            "multitask.student.turns",
            {"every": 25, "learn": {"name": "tscl", "variant": "naive"}},
            r"turns\.every is 25, and a turn takes 10 score",
        ),
        (
            "multitask.student",
            PUPIL | {"turns": {"every": 50, "learn": {"name": "multilingual_nmt"}}},
            r"teachers would know the answers\. Write teacher\.holdout: false",
        ),
        (
            "multitask.union.method",
            {"name": "must", "depth_loss": "affine"},
            r"union\.method\.depth_loss is 'affine'.*in metres\. Write log or silog, or leave depth out of tasks",
        ),
        ("multitask.student.hears", [], r"hears is \[\]: name at least one task"),
        ("multitask.student.hears", ["depth", "depth"], "each once"),
        ("multitask.student.hears", ["poses"], "poses|should be 'classification'"),
        ("multitask.tasks", ["detection"], r"student.hears is \['detection', 'depth'\].*hear some of these"),
        ("multitask.student.turns", {"every": 50, "learn": {"name": "tscl"}}, "student.hears must be null"),
        (
            "multitask.student",
            PUPIL | {"turns": {"every": 50, "learn": {"name": "tscl"}}},
            "begins with the specialist of detection, which knows it: teacher.holdout is true",
        ),
        ("multitask.teacher.turns", {"every": 50, "learn": {"name": "tscl"}}, "turns"),
        ("compare.network", {"depth": 3}, r"compare\.network\.depth is not a parameter"),
        ("compare.methods", ["kd", "adamach"], "'adamach' is not one of.*'adamatch'"),
        ("compare.methods", ["kd", "kd"], "one of them twice"),
        ("compare.methods", [], "a list of names"),
        ("compare.seeds", [], "compare.seeds"),
        ("compare.seeds", [1, 0, 1], r"seeds is \[1, 0, 1\]: a seed twice"),
        ("compare.seeds", [0, -1], "compare.seeds.1 is -1"),
        ("seed", 2**63, "seed is 9223372036854775808"),
        ("calibrate.cap", 0.4, "floor is 0.5 and cap 0.4"),
        ("detection.calibrate.floor", 0.99, "floor is 0.99 and cap 0.95"),
        ("optimiser.lr", math.nan, "lr=nan.*finite and above 0"),
        ("optimiser.lr", math.inf, "lr=inf.*finite and above 0"),
        ("optimiser.clip", math.nan, "clip=nan.*finite and above 0"),
        ("optimiser.weight_decay", -1.0, "weight_decay is finite and at least 0"),
        ("compute.checkpoint_seconds", math.nan, "checkpoint_seconds at least 0"),
        ("guard.max_class_divergence", math.inf, "max_class_divergence is inf: .*finite"),
        ("detection.guard.max_class_divergence", math.nan, "max_class_divergence is nan: "),
        ("judge.latency_ratio", math.inf, "latency_ratio is inf: .*finite"),
        ("detection.guard.boxes", [0.0, math.inf], "boxes.1 is inf"),
        ("pate.scale", math.inf, "scale"),
        (
            "detection.rounds.2",
            {"teacher": "work/detection/rounds/1/student"},
            r'chained: .*, "2": \{teacher: work/detection/rounds/1/guard\}',
        ),
        ("detection.rounds.1", {"teacher": "work/detection/teacher", "boxes": "agreed"}, "one teacher only"),
        (
            "adapt.candidates.mic.learn",
            {"name": "adaptsegnt"},
            "'adaptsegnt' is not one of the .* ways to adapt. Did you mean 'adaptsegnet'",
        ),
        ("adapt.candidates.mic.learn", {"name": "dann"}, "'dann' is not one of .*; there are: .*adaptsegnet.*bdl"),
        ("adapt.candidates.mic.learn", {"name": "cycada"}, "see the section adapt.features"),
        ("adapt.candidates.mic.learn", {"name": "bdl", "steps": 7}, "leave out learn.steps"),
        ("adapt.candidates.mic.learn", {"name": "bdl", "rounds": 7}, "write a multiple of 21"),
        ("adapt.candidates.adaptsegnet.translated", True, "leave out `translated`"),
        ("adapt.candidates.adaptsegnet.pool_batch", 0, "pool_batch of 1 or more"),
        (
            "adapt.candidates.adaptsegnet.turns",
            TURNS,
            "turns are of 100 steps, AdaptSegNet has 600: turns take a method",
        ),
        ("adapt.candidates.mic.turns", TURNS | {"every": 7}, "a multiple of `every` steps"),
        ("adapt.candidates.mic.turns", TURNS | {"learn": {"name": "multilingual_nmt"}}, "domains have no specialists"),
        ("adapt.ingest.source", {}, r"write one name inside root, or \{DOMAIN: name, DOMAIN: name\}"),
        ("ingest.labelled", ["day", "night"], r"write one name inside root, or \{DOMAIN: name, DOMAIN: name\}"),
        ("adapt_scenes.ingest.test", None, "ingest.test is null, but pool and test are the target"),
        ("adapt_scenes.adapted", "mike", "adapted is 'mike': write one of the candidates, adabn"),
        ("adapt_scenes.oracle.pool_batch", 4, "it sees no pool"),
        ("adapt_scenes.baseline.pool_batch", 4, "baseline.pool_batch is 4: it sees no pool"),
        ("adapt_scenes.candidates.adabn.levels", 2, "MuST has no critic a level"),
        ("adapt_scenes.candidates.adabn", LOOP | {"learn": {"name": "bdl", "rounds": 7}}, "write a multiple of 21"),
        ("adapt_scenes.candidates.adabn", LOOP | {"learn": {"name": "bdl", "steps": 7}}, "leave out learn.steps"),
        ("adapt_scenes.candidates.adabn", LOOP | {"steps": 2, "learn": {"name": "cycada"}}, "leave a stage of cycada"),
        (
            "adapt_scenes.candidates.adabn",
            LOOP | {"start": "scratch", "learn": {"name": "cycada"}},
            "write start: source",
        ),
        ("adapt_scenes.candidates.adabn.norms", "training", "pool_batch is 0, norms 'training' and learn MuST"),
        ("adapt_scenes.candidates.adabn.learn", {"name": "mic"}, "pool_batch is 0, norms 'target' and learn MIC"),
        ("adapt_scenes.candidates.adabn.learn", {"name": "adaptsegnt"}, "Did you mean 'adaptsegnet'"),
        ("adapt.answers.both", "translated", "needs no translator answers: adamatch, adaptsegnet"),
        ("adapt.answers.night", "mic", "answers.night"),
        ("adapt.rounds", {}, "write one at least"),
        ("adapt.rounds.1.teacher", "work/adapt/candidates/mick", "none of work/adapt/source, .*candidates/mic"),
        ("adapt.rounds.3.teacher", "work/adapt/rounds/1/guard", "the round before it makes work/adapt/rounds/2/guard"),
        ("adapt.rounds.4", {"teacher": "work/adapt/rounds/3/student"}, "it makes work/adapt/rounds/3/guard"),
        (
            "baseline.method",
            {"name": "kd"},
            "baseline.method is kd, which learns from a teacher, and baseline has none",
        ),
        ("teacher.method", {"name": "rkd"}, "write supervised there, and rkd as the method of a student"),
        ("oracle.method", {"name": "kd"}, "oracle.method is kd"),
        ("compress.teacher.method", {"name": "kd"}, "compress: teacher.method is kd"),
        ("compress.baseline.method", {"name": "kd"}, "compress: baseline.method is kd"),
        ("committee.train.method", {"name": "kd"}, "committee: train.method is kd"),
        ("adapt.source.method", {"name": "kd"}, "adapt: source.method is kd"),
        ("detection.baseline.method", {"name": "kd"}, "detection: baseline.method is kd"),
        ("detection.compress.baseline.method", {"name": "kd"}, "detection: compress.baseline.method is kd"),
        ("rounds.1.network", {"width": 48}, r"student.start is 'teacher', but rounds\.1\.network makes of .*width=48"),
        ("detection.rounds.1.network", {"width": 48}, r"detection: student.start is 'teacher', but rounds\.1\.network"),
        ("student.method", {"name": "afid"}, "student.method is afid, which trains interacting_resnet alone, but the"),
        ("baseline.method", {"name": "afid"}, "Set network.name to interacting_resnet"),
        ("detection.fuse", {"weights": [1.0]}, "1 numbers for a teacher and 1 round"),
        ("detection.guard.boxes", [2.0, 1.0], "write the fewest first"),
        (
            "detection.evaluate.max_detections",
            300,
            r"300, but network answers 100 at most.*network.max_detections: 300",
        ),
        ("detection.compress.network", {"max_detections": 50}, "100, but compress.network answers 50 at most"),
    ],
)
def test_a_mistake_is_named_before_anything_is_loaded(change, name, value, said):
    with pytest.raises(BadInput, match=said):
        load(change(name, value))


@pytest.mark.parametrize("section", ["student", "compress.student"])
def test_a_mosaic_of_images_that_cannot_be_halved_is_refused(change, section):
    path = change("detection.network.image_size", 75)
    assert load(path).detection.network.image_size == 75
    entries = read(path.read_text())
    *above, last = section.split(".")
    runs = entries["detection"][above[0]] if above else entries["detection"]
    for mix in ("mosaic", "both"):
        runs[last]["method"] = {"name": "stac", "mix": mix}
        write(path, entries)
        with pytest.raises(BadInput, match=rf"{section}.method.mix is '{mix}'.*image_size is 75: write an even one"):
            load(path)
    runs[last]["method"] = {"name": "stac", "mix": "mixup"}
    write(path, entries)
    load(path)


@pytest.mark.parametrize("section", ["adapt", "adapt_scenes"])
@pytest.mark.parametrize("name", ["lr0.5", "a b", "a/b", "round 1", ""])
def test_a_way_to_adapt_whose_name_no_stage_can_have_is_refused(change, section, name):
    """DVC looks for `lr0.5` below `lr0`, the shell parts `a b`, and `round 1` is that of a student in the report."""
    written = content()[section]["candidates"]
    path = change(f"{section}.candidates", written | {name: next(iter(written.values()))})
    with pytest.raises(BadInput, match=rf"{section}\.candidates\.{name} is '{name}': .* letters, digits, _ and -"):
        load(path)


FOLDERS = """ingest.root detection.ingest.root adapt.ingest.root adapt_scenes.ingest.root
compress.chain.1.teacher detection.compress.teacher"""


@pytest.mark.parametrize("name", FOLDERS.split())
@pytest.mark.parametrize("folder", ["it's", "a\nb"])
def test_a_folder_that_would_end_a_word_of_the_shell_is_refused(change, name, folder):
    with pytest.raises(BadInput, match=rf"{name} is .*: .*Rename the folder"):
        load(change(name, folder))


@pytest.mark.parametrize("name", ["source", "cycada"])
def test_a_way_to_adapt_has_the_name_of_no_other_model_that_is_chosen_among(change, name):
    written = content()["adapt"]["candidates"]
    with pytest.raises(BadInput, match=f"`{name}`"):
        load(change("adapt.candidates", written | {name: written["mic"]}))


@pytest.mark.parametrize("name", ["bdl", "ruder_adapt", "ts_da_parallel", "adaptsegnet", "fda", "mic"])
def test_ways_to_adapt_are_taken_by_name(change, name):
    written = {"steps": 90, "labelled_batch": 4, "pool_batch": 4, "learn": {"name": name}}  # bdl: 9 phases
    learn = load(change("adapt.candidates.mic", written)).adapt.candidates["mic"].learn
    assert type(learn).__name__.lower() == name.replace("_", "")


def test_a_loss_of_depth_without_a_scale_is_taken_where_no_depth_is_learned(change):
    path = change("multitask.teacher.method", {"name": "must", "depth_loss": "affine"})
    entries = read(path.read_text())
    entries["multitask"] |= {"tasks": ["detection"], "start": None}
    entries["multitask"]["student"]["hears"] = None
    write(path, entries)
    assert load(path).multitask.teacher.method.depth_loss == "affine"


def test_a_drift_may_have_no_answer(change):
    assert load(change("adapt.answers", {"appearance": None, "both": "mic"})).adapt.answers["appearance"] is None


def test_looking_in_all_ways_needs_more_than_one(change):
    path = change("detection.label", {"orientations": True})
    assert len(load(path).detection.ways) == 2
    entries = read(path.read_text())
    entries["detection"]["views"]["flip"] = False
    write(path, entries)
    with pytest.raises(BadInput, match=r"label\.orientations is true, but views allow one way only"):
        load(path)


def test_only_the_last_round_may_learn_from_the_holdout(change):
    rounds = {"1": {"teacher": "work/teacher", "holdout": True}, "2": {"teacher": "work/rounds/1/guard"}}
    path = change("rounds", rounds)
    path.write_text(path.read_text().replace("\nlast: 1", "\nlast: 2"))
    with pytest.raises(BadInput, match=r"rounds\.1\.holdout is true.*Only the last round"):
        load(path)
    path.write_text(path.read_text().replace("holdout: true", "holdout: false"))
    assert load(path).last == 2


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("rounds.1.holdoutt", True, "rounds.1.holdoutt is not a parameter. Did you mean 'holdout'?"),
        ("rounds.1.network", {"widht": 8}, "params: rounds.1.network.widht is not a parameter. Did you mean 'width'?"),
        (
            "student.method",
            {"name": "kd", "ALPHA": 1},
            "student.method: in kd, ALPHA is not a parameter. Did you mean 'alpha'?",
        ),
        (
            "compare.methods",
            [{"name": "kd", "alhpa": 1}],
            "compare.methods: in kd, alhpa is not a parameter. Did you m",
        ),
        ("lesson.learn", {"name": "vad_ordinal", "learn": {"usal": 1}}, "lesson.learn: in vad_ordinal, learn.usal is "),
        ("detection.names.train.step", 9, "detection.names.train.step is not a parameter. Did you mean 'steps'?"),
        ("committee.members", [{"numbr": 2}], "committee.members.0.numbr is not a parameter. Did you mean 'number'?"),
        ("adapt.candidates.mic.setps", 9, "adapt.candidates.mic.setps is not a parameter. Did you mean 'steps'?"),
        ("adapt_scenes.candidates.adabn.views", {"color": 1}, "adapt_scenes.candidates.adabn.views.color is not a par"),
    ],
)
def test_a_misspelt_entry_is_told_at_any_depth(change, name, value, said):
    with pytest.raises(BadInput) as caught:
        load(change(name, value))
    assert str(caught.value).splitlines()[1].startswith(f"  {said}")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("split.labels_per_class", True, "split.labels_per_class is true, where a number is asked"),
        ("split.holdout", False, "split.holdout is false, where a number"),
        ("optimiser.lr", True, "optimiser.lr is true, where a number"),
        ("student.method", {"name": "adamatch", "pseudo": True}, "in adamatch, pseudo is true, where a number"),
        ("compare.seeds", [0, True], "compare.seeds.1 is true, where a number"),
        ("detection.guard.boxes", [False, 2.0], "detection.guard.boxes.0 is false, where a number"),
        ("rounds.1.network", {"width": True}, "rounds.1.network.width is true, where a number"),
        ("rounds.1.holdout", 1, "rounds.1.holdout is 1, where true or false is asked"),
        ("views.flip", 0, "views.flip is 0, where true or false"),
    ],
)
def test_yes_is_no_number_and_1_is_not_yes(change, name, value, said):
    with pytest.raises(BadInput, match=said):
        load(change(name, value))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "teacher.steps",
            "600",
            "teacher.steps is the text '600' (write 600, without quotes), where a number is asked",
        ),
        ("teacher.steps", "6e2", "teacher.steps is the text '6e2' (write 600, without quotes), where a number"),
        ("split.labels_per_class", "40", "split.labels_per_class is the text '40' (write 40, without"),
        ("optimiser.lr", "0.03", "optimiser.lr is the text '0.03' (write 0.03, without quotes), where a number"),
        ("optimiser.lr", "inf", "optimiser.lr is the text 'inf'"),
        ("student.method", {"name": "adamatch", "pseudo": "1"}, "in adamatch, pseudo is the text '1' (write 1, "),
        ("compare.seeds", [0, "1"], "compare.seeds.1 is the text '1'"),
        ("rounds.1.network", {"width": "16"}, "rounds.1.network.width is the text '16' (write 16, without quotes)"),
        ("rounds.1.network", {"width": "wide"}, "rounds.1.network.width is the text 'wide', where a number is asked"),
        (
            "detection.compress.network",
            {"nms": "5e-1"},
            "compress.network.nms is the text '5e-1', where a number is as",
        ),
        ("rounds.1.network", {"pretrained": "maybe"}, "pretrained is the text 'maybe', where true or false is asked"),
        ("rounds.1.holdout", "yes", "rounds.1.holdout is the text 'yes' (write true, without quotes), where true or f"),
        ("views.flip", "n", "views.flip is the text 'n' (write false, without quotes), where true or false is asked"),
    ],
)
def test_text_is_no_number_and_no_yes(change, name, value, said):
    with pytest.raises(BadInput) as caught:
        load(change(name, value))
    assert said in str(caught.value)


def test_a_number_without_a_dot_is_a_number_and_digits_may_be_a_name(change):
    """PyYAML reads 3e-2 as text, as YAML 1.1 has it; a folder of digits, in quotes, stays text."""
    path = change("optimiser.lr", 7)
    path.write_text(path.read_text().replace("lr: 7", "lr: 3e-2"))
    assert read(path.read_text())["optimiser"]["lr"] == "3e-2"
    assert load(path).optimiser.lr == 0.03
    assert load(change("ingest.root", "2024")).ingest.root == "2024"
    assert load(change("detection.compress.network", {"config": ""})).detection.compress.network == {"config": ""}


def test_all_mistakes_are_named_at_once(change, tmp_path):
    path = change("student.steps", 0)
    path.write_text(path.read_text().replace("seed: 0", "seed: -1\nsede: 0").replace("flip: true", "flip: 1"))
    with pytest.raises(BadInput, match="4 problem"):
        load(path)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("adapt.answers.both", "translated", "adapt: answers.both is 'translated'; "),
        ("compare.methods", ["kd", "kd"], "compare.methods: methods names one of them twice"),
        ("last", 7, "params: last is 7, but the last round is 1"),
        ("student.method", "adamatch", "student.method is 'adamatch': one of the methods"),
        ("student.steps", "a" * 999, f"student.steps is '{'a' * 79} ...: Input should be a valid integer"),
        ("student.steps", [1] * 999, f"student.steps is [{'1, ' * 26}1 ...: Input should be a valid integer"),
    ],
)
def test_an_error_repeats_a_value_and_no_section(change, name, value, said):
    with pytest.raises(BadInput) as caught:
        load(change(name, value))
    (_, line) = str(caught.value).splitlines()
    assert line.startswith(f"  {said}")
    assert len(line) < 250


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"seed: caf\xe9", "is not UTF-8 text"),
        (b"a: {b: 1, c: 2}\nd: [{b: 1, b: 2}]", r"b stands twice\s+in .*line 2, column 12"),
    ],
)
def test_what_cannot_be_read_as_it_stands(tmp_path, text, said):
    (tmp_path / "params.yaml").write_bytes(text)
    with pytest.raises(BadInput, match=said):
        load(tmp_path / "params.yaml")


@pytest.mark.parametrize("entry", ["teacher.method", "lesson.learn", "strings.learn"])
def test_a_name_is_a_word(change, entry):
    with pytest.raises(BadInput, match=r"a name is \['supervised'\]; it is one of"):
        load(change(entry, {"name": ["supervised"]}))


def test_what_is_not_yaml_or_not_there(tmp_path):
    (tmp_path / "params.yaml").write_text("a: [")
    with pytest.raises(BadInput, match="not YAML"):
        load(tmp_path / "params.yaml")
    with pytest.raises(BadInput, match="repository's root"):
        load(tmp_path / "none.yaml")


def test_methods_of_a_comparison_are_names_or_have_fields(change):
    path = change("compare.methods", ["ban", {"name": "kd", "temperature": 8, "alpha": 0.5}])
    methods = load(path).compare.methods
    assert list(methods) == ["ban", "kd, alpha 0.5, temperature 8"]
    assert methods["kd, alpha 0.5, temperature 8"].temperature == 8
