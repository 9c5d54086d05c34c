"""Token buckets of accounts and operations."""

from contextlib import suppress

import pytest

from batchery.api import logs  # noqa: F401  its operations register themselves
from batchery.api.call import ApiError
from batchery.api.throttle import Throttle, unknown


def passed(throttle: Throttle, calls: int, now: float, operation: str = "SubmitJob", account: str = "1") -> int:
    count = 0
    for _ in range(calls):
        with suppress(ApiError):
            throttle.take(account, operation, now)
            count += 1
    return count


def test_the_answer_is_aws_s() -> None:
    throttle = Throttle({"*": 1})
    throttle.take("1", "SubmitJob", 0)
    with pytest.raises(ApiError) as caught:
        throttle.take("1", "SubmitJob", 0)
    error = caught.value
    assert (error.status, error.code, error.message) == (429, "TooManyRequestsException", "Too Many Requests")


def test_names_that_are_no_operations() -> None:
    assert unknown({"*": 1, "SubmitJob": 1, "GetLogEvents": 1, "SubmitJobs": 1}) == ["SubmitJobs"]


def test_nothing_is_limited_by_default() -> None:
    assert passed(Throttle({}), 10_000, 0) == 10_000


def test_a_second_s_worth_at_once_then_by_the_rate() -> None:
    throttle = Throttle({"SubmitJob": 50})
    assert passed(throttle, 80, 10.0) == 50
    assert passed(throttle, 80, 10.5) == 25
    assert passed(throttle, 80, 100.0) == 50, "what was not used is not saved up"
    assert passed(throttle, 1, 99.0) == 0, "a clock that went back gives nothing"


def test_accounts_and_operations_have_buckets_of_their_own() -> None:
    throttle = Throttle({"SubmitJob": 2, "*": 1})
    assert passed(throttle, 5, 0.0) == 2
    assert passed(throttle, 5, 0.0, account="2") == 2
    assert passed(throttle, 5, 0.0, operation="DescribeJobs") == 1
    assert passed(throttle, 5, 0.0, operation="CancelJob") == 1


@pytest.mark.parametrize("rate", [0.5, 0.1])
def test_less_than_one_a_second(rate: float) -> None:
    throttle = Throttle({"SubmitJob": rate})
    assert [passed(throttle, 1, at) for at in (0.0, 1 / rate - 0.1, 1 / rate + 0.1)] == [1, 0, 1]
