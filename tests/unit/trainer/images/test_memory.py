"""All threads together use no more memory for decoding than the budget, and none waits for ever."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phi3k_trainer.images.memory import MemoryBudget


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 150), min_size=1, max_size=30))
def test_what_is_held_at_the_same_time_fits_or_is_alone(sizes: list[int]) -> None:
    budget = MemoryBudget(100)
    held: list[int] = []
    lock = threading.Lock()

    def use(size: int) -> bool:
        with budget.reserved(size):
            with lock:
                held.append(size)
                fits = sum(min(one, 100) for one in held) <= 100
            time.sleep(0.001)
            with lock:
                held.remove(size)
        return fits

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(use, sizes))


def test_a_large_request_is_not_overtaken_by_small_ones() -> None:
    budget = MemoryBudget(100)
    order: list[str] = []

    def use(name: str, size: int) -> None:
        with budget.reserved(size):
            order.append(name)

    with budget.reserved(50):
        large = threading.Thread(target=use, args=("large", 100))
        large.start()
        time.sleep(0.1)
        small = threading.Thread(target=use, args=("small", 10))
        small.start()
        time.sleep(0.1)
        assert order == []
    large.join(5)
    small.join(5)
    assert order == ["large", "small"]


def test_memory_is_given_back_after_an_error() -> None:
    budget = MemoryBudget(100)
    with pytest.raises(LookupError), budget.reserved(100):
        raise LookupError
    with budget.reserved(100):
        pass
