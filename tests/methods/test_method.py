import pytest
import torch

from tutelage.methods.ban import BAN
from tutelage.methods.fixmatch import FixMatch
from tutelage.methods.method import Clock, check
from tutelage.types import BadInput


def test_progress_is_of_the_first_share_of_the_run():
    clock = Clock(200)
    seen = []
    for step in (0, 50, 100, 150):
        clock.tick(step)
        seen.append(clock.progress(0.5).item())
    assert seen == [0.0, 0.5, 1.0, 1.0]


def test_no_ramp_is_full_weight_from_the_start():
    assert Clock(200).progress(0.0) == 1.0
    assert Clock(0).progress(0.5) == 1.0


def test_time_survives_a_checkpoint():
    clock, again = Clock(10), Clock(10)
    clock.tick(4)
    again.load_state_dict(clock.state_dict())
    torch.testing.assert_close(again.progress(0.8), torch.tensor(0.5))


def test_a_refusal_names_the_value_the_rule_and_the_way_out():
    message = "confidence of FixMatch is 95.0: it must be a share, from 0 to 1. Leave it out for the default, 0.95"
    with pytest.raises(BadInput, match=message):
        FixMatch(confidence=95.0)


def test_ends_of_a_range_belong_to_it():
    FixMatch(confidence=0.0, ramp=1.0, weight=0.0)
    with pytest.raises(BadInput, match="above 0"):
        check(FixMatch(weight=0.0), positive=("weight",))


def test_a_choice_that_does_not_exist_is_refused_without_pydantic_too():
    method = BAN()
    object.__setattr__(method, "variant", "cwmt")  # what an unchecked caller could write
    with pytest.raises(BadInput, match="variant of BAN is 'cwmt': it must be one of soft, cwtm, dkpp"):
        check(method)
