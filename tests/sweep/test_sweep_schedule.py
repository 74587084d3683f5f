"""Which task runs next, without any process."""

from __future__ import annotations

import random

import pytest

from whence.sweep.execute.outcome import Failure, Outcome
from whence.sweep.execute.remaining import Remaining
from whence.sweep.execute.schedule import LOST, Schedule
from whence.sweep.tasks import Resources, Task

DONE = Outcome(1.0, "here")


def task(name: str, *needs: str, gpus: float = 0.0) -> Task:
    return Task(name, name, "k", "m:C", "m:f", {}, f"runs/{name}", needs, Resources(gpus=gpus))


def failure(kind: Failure) -> Outcome:
    return Outcome(1.0, "here", kind, "why")


def anything(needs: Resources) -> bool:
    return True


def schedule(
    *tasks: Task, done: tuple[str, ...] = (), retries: int = 1, keep_going: bool = True
) -> Schedule:
    return Schedule(tasks, set(done), retries, keep_going)


def test_a_task_waits_for_what_it_needs_and_order_is_kept() -> None:
    a, b, c = task("a"), task("b", "a"), task("c")
    plan = schedule(a, b, c)
    assert [plan.take(anything), plan.take(anything), plan.take(anything)] == [a, c, None]
    plan.finish(c, DONE)
    assert plan.take(anything) is None
    plan.finish(a, DONE)
    assert plan.take(anything) is b


def test_what_is_done_is_not_given_out_and_frees_what_needs_it() -> None:
    a, b = task("a"), task("b", "a")
    plan = schedule(a, b, done=("a",))
    assert plan.take(anything) is b
    assert plan.take(anything) is None


def test_a_task_without_room_does_not_hold_up_those_with_room() -> None:
    big, small = task("big", gpus=1), task("small")
    plan = schedule(big, small)
    assert plan.take(lambda needs: needs.gpus == 0) is small
    assert plan.take(lambda needs: needs.gpus == 0) is None
    assert plan.take(anything) is big


@pytest.mark.parametrize("kind", ["error", "died", "busy"])
def test_failures_are_tried_again_as_often_as_asked(kind: Failure) -> None:
    a = task("a")
    plan = schedule(a, retries=2)
    for again in (True, True, False):
        assert plan.take(anything) is a
        assert plan.finish(a, failure(kind)).again is again
    assert plan.failed == {"a"}
    assert plan.take(anything) is None


def test_wrong_input_is_never_tried_again() -> None:
    a = task("a")
    plan = schedule(a, retries=5)
    plan.take(anything)
    assert not plan.finish(a, failure("bad_input")).again
    assert plan.failed == {"a"}


def test_a_task_lost_before_it_began_keeps_its_retries_but_not_for_ever() -> None:
    a = task("a")
    plan = schedule(a, retries=0)
    for _ in range(LOST):
        plan.take(anything)
        assert plan.finish(a, failure("lost")).again
    plan.take(anything)
    assert not plan.finish(a, failure("lost")).again


def test_everything_behind_a_failure_is_blocked_once_and_the_rest_runs() -> None:
    a, b, c, d = task("a"), task("b", "a"), task("c", "b", "d"), task("d")
    plan = schedule(a, b, d, c, retries=0)
    plan.take(anything)
    plan.take(anything)
    assert {t.id for t in plan.finish(a, failure("error")).blocked} == {"b", "c"}
    assert plan.blocked == {"b": "a", "c": "a"}
    assert plan.finish(d, DONE).blocked == ()
    assert plan.take(anything) is None


def test_the_first_failure_stops_giving_out_unless_asked_to_go_on() -> None:
    a, b = task("a"), task("b")
    for keep_going in (False, True):
        plan = schedule(a, b, retries=0, keep_going=keep_going)
        plan.take(anything)
        plan.finish(a, failure("error"))
        assert plan.stopped is not keep_going
        assert (plan.take(anything) is b) is keep_going


def test_any_graph_with_any_luck_runs_every_task_behind_its_needs_exactly_once() -> None:
    luck = random.Random(7)
    for _ in range(30):
        tasks: list[Task] = []
        for number in range(40):
            needs = luck.sample([t.id for t in tasks], min(len(tasks), luck.randrange(4)))
            tasks.append(task(f"t{number}", *needs, gpus=luck.choice([0, 0, 1])))
        plan = schedule(*tasks, retries=3)
        ended: list[str] = []
        running: list[Task] = []
        while True:
            room = luck.choice([anything, lambda needs: needs.gpus == 0])
            if (given := plan.take(room)) is not None:
                assert set(given.needs) <= set(ended)
                running.append(given)
            elif running:
                one = running.pop(luck.randrange(len(running)))
                if luck.random() < 0.1:
                    assert plan.finish(one, failure("lost")).again
                else:
                    plan.finish(one, DONE)
                    ended.append(one.id)
            elif room is anything:
                break
        assert sorted(ended) == sorted(t.id for t in tasks)


def test_the_time_left_is_work_times_pace_over_places() -> None:
    left = Remaining({"fit": 2.0})
    for _ in range(6):
        left.expect("fit", 1.0, at_once=3)
    assert left.seconds() == 6 * 2.0 / 3
    left.learn("fit", 2.0, 8.0)  # an earlier run: 4 s for one unit, better than the trial
    assert left.seconds() == 6 * 4.0 / 3
    left.finish("fit", 1.0, 1.0)  # this run: 1 s, better than both
    assert left.seconds() == 5 * 1.0 / 3
    assert left.seconds([("fit", 1.0, 0.5), ("fit", 1.0, 60.0)]) == (5 - 0.5 - 1.0) / 3
    left.expect("draw", 1.0, at_once=1)
    assert left.seconds() is None
    left.finish("draw", 1.0, None)
    assert left.seconds() == 5 * 1.0 / 3
