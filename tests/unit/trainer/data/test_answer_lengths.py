"""Which answers a generation of this many tokens can't give, and which value is enough."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from phi3k_trainer.data.answer_lengths import AnswerLengths

lengths = st.lists(st.integers(1, 500), max_size=30)


@given(lengths, st.integers(1, 500))
def test_the_value_that_would_do_leaves_no_answer_out_and_is_the_smallest(tokens: list[int], allowed: int) -> None:
    counted = np.array(tokens, np.int64)
    found = AnswerLengths.of(counted, allowed)
    remark = found.remark()
    if remark is None:
        assert all(one <= allowed for one in tokens)
        return
    assert f"{sum(one > allowed for one in tokens)} of {len(tokens)}" in remark
    assert f"evaluation.max_new_tokens={found.longest} is enough" in remark
    assert AnswerLengths.of(counted, found.longest).remark() is None
    assert AnswerLengths.of(counted, found.longest - 1).remark() is not None
