import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from phi3k_trainer.data.batches import collate, split_step
from phi3k_trainer.data.encoding import EncodedExample

LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=60).map(lambda values: np.array(values, np.int64))


@given(LENGTHS, st.integers(1, 1000), st.integers(1, 9))
def test_every_sample_is_in_exactly_one_forward_pass(
    lengths: NDArray[np.int64], tokens_per_batch: int, world_size: int
) -> None:
    shares = split_step(range(len(lengths)), lengths, tokens_per_batch, world_size)
    assert len(shares) == world_size
    assert sorted(sample for share in shares for batch in share for sample in batch) == list(range(len(lengths)))


@given(LENGTHS, st.integers(1, 1000), st.integers(1, 9))
def test_all_processes_make_the_same_number_of_forward_passes(
    lengths: NDArray[np.int64], tokens_per_batch: int, world_size: int
) -> None:
    shares = split_step(range(len(lengths)), lengths, tokens_per_batch, world_size)
    assert len({len(share) for share in shares}) == 1
    assert len(shares[0]) >= 1


@given(LENGTHS, st.integers(1, 1000), st.integers(1, 9))
def test_a_forward_pass_is_padded_to_no_more_than_it_may_hold(
    lengths: NDArray[np.int64], tokens_per_batch: int, world_size: int
) -> None:
    for share in split_step(range(len(lengths)), lengths, tokens_per_batch, world_size):
        for batch in share:
            assert len(batch) <= 1 or lengths[batch].max() * len(batch) <= tokens_per_batch


@given(LENGTHS, st.integers(1, 9))
def test_processes_differ_by_at_most_one_sample(lengths: NDArray[np.int64], world_size: int) -> None:
    shares = split_step(range(len(lengths)), lengths, 300, world_size)
    tokens = [sum(int(lengths[batch].sum()) for batch in share) for share in shares]
    assert max(tokens) - min(tokens) <= lengths.max()


@given(LENGTHS)
def test_samples_inside_the_original_window_do_not_meet_longer_ones(lengths: NDArray[np.int64]) -> None:
    for share in split_step(range(len(lengths)), lengths, 10_000, 2, length_boundary=150):
        for batch in share:
            assert len({bool(length > 150) for length in lengths[batch]}) <= 1


def test_rows_are_padded_on_the_right_where_nothing_is_learned() -> None:
    image = np.zeros((336, 672, 3), np.uint8)
    long = EncodedExample(np.array([1, -1, 5]), np.array([-100, -100, 5]), (image,))
    short = EncodedExample(np.array([1, 7]), np.array([-100, 7]), ())

    batch = collate([long, short])

    assert batch.input_ids.tolist() == [[1, -1, 5], [1, 7, 0]]
    assert batch.labels.tolist() == [[-100, -100, 5], [-100, 7, -100]]
    assert (batch.num_samples, batch.num_tokens) == (2, 5)
    inputs = batch.model_inputs(torch.device("cpu"), torch.bfloat16)
    assert inputs["image_crops"].shape == (3, 3, 336, 336)
    assert inputs["image_crops"].dtype == torch.bfloat16
    assert inputs["image_sizes"].tolist() == [[336, 672]]


def test_a_process_without_samples_computes_a_row_that_counts_for_nothing() -> None:
    batch = collate([])
    assert batch.num_samples == batch.num_tokens == 0
    assert (batch.labels == -100).all()
