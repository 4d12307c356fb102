"""What is left of a plan: a value that is read at a time."""
import pytest

from rapidfailover.quota import Quota


def test_what_nobody_told_is_unknown():
    quota = Quota(told_at=5.0)
    assert not quota.is_known() and quota.as_told() is None and quota.as_told(5.0) is None
    assert quota.remaining(5.0) is None and not quota.is_used_up(5.0) and not quota.is_scarce(5.0) and quota.renewed_in(5.0) == 0.0


def test_it_is_good_until_its_reset():
    quota = Quota(limit=100, left=0, reset=60.0, told_at=10.0)
    assert quota.is_used_up(69.9) and quota.renewed_in(69.0) == 1.0 and quota.as_told(69.0) == {"limit": 100, "remaining": 0, "reset": 1.0}
    assert not quota.is_used_up(70.0) and quota.remaining(70.0) is None and quota.renewed_in(99.0) == 0.0 and quota.as_told(70.0) is None
    assert quota.as_told() == {"limit": 100, "remaining": 0, "reset": 60.0}  # as the answer told it


def test_without_a_reset_it_is_believed_for_an_hour():
    quota = Quota(left=0, told_at=10.0)
    assert quota.is_used_up(3609.9) and not quota.is_used_up(3610.0)
    assert quota.as_told(3609.0) == {"limit": None, "remaining": 0, "reset": None}


@pytest.mark.parametrize("limit, left, is_scarce", [(100, 9, True), (100, 10, False), (100, 0, True), (None, 3, False), (100, None, False)])
def test_less_than_a_tenth_is_scarce(limit, left, is_scarce):
    assert Quota(limit, left, 60.0).is_scarce(0.0) is is_scarce
