"""Who may begin."""

from batchery.core.model import AttemptKey
from batchery.engines.room import Room, Share
from batchery.engines.wire import Task


def task(number: int, vcpus=1000, memory=10, gpus=0, pool="p", pool_vcpus=2000) -> Task:
    key = AttemptKey("job", number, 1)
    return Task(key, "id", "default", "", ("true",), {}, "/log", vcpus, memory, gpus, pool, pool_vcpus, 0, 0)


def begin(room: Room, *tasks: Task) -> list[int]:
    """Hold these too, and begin what has room: their numbers."""
    room.held |= {one.key: one for one in tasks}
    begun = []
    for one in room.next_ones():
        room.take(one)
        begun.append(one.key.index)
    return begun


def test_an_order_that_lacks_vcpus_holds_back_its_pool_only():
    room = Room(1000, 0)
    assert begin(room, task(1), task(2, vcpus=2000), task(3), task(4, pool="q")) == [1, 4]
    room.give(Share("p", 1000, 10))
    assert begin(room) == [2]


def test_an_order_that_lacks_memory_holds_back_everybody():
    assert begin(Room(100, 0), task(1, memory=60), task(2, memory=60), task(3, memory=1, pool="q")) == [1]


def test_an_order_that_lacks_gpus_holds_back_who_wants_gpus_and_its_pool():
    room = Room(1000, 2)
    orders = task(1, gpus=1), task(2, gpus=2), task(3, gpus=1, pool="q"), task(4, pool="q"), task(5)
    assert begin(room, *orders) == [1, 4]


def test_gpus_are_the_lowest_that_are_free():
    room = Room(1000, 4)
    first = room.take(task(1, gpus=2))
    assert first.gpus == (0, 1)
    assert room.take(task(2, gpus=1)).gpus == (2,)
    room.give(first)
    assert room.take(task(3, gpus=3)).gpus == (0, 1, 3)


def test_what_is_too_large_is_cut_to_the_host_and_runs_alone():
    room = Room(100, 1)
    huge = task(2, vcpus=9000, memory=500, gpus=3)
    assert begin(room, task(1), huge) == [1]
    room.give(Share("p", 1000, 10))
    assert begin(room, task(3, memory=1, pool="q")) == [2]
    room.give(Share("p", 2000, 100, (0,)))
    assert begin(room) == [3]


def test_a_room_that_shrank_takes_nothing_until_there_is_room_again():
    room = Room(100, 2)
    share = room.take(task(1, memory=80))
    room.resize(50, 0)
    assert begin(room, task(2, memory=1)) == []
    room.give(share)
    assert begin(room) == [2]


def test_a_pool_without_vcpus_can_be_given_back_to_twice():
    room = Room(100, 0)
    shares = [room.take(task(n, vcpus=0)) for n in (1, 2)]
    for share in shares:
        room.give(share)
    assert begin(room, task(3, vcpus=2000)) == [3]
