"""Answers in the data that no generation of the allowed length can give: they score 0 however well a model learns."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class AnswerLengths:
    """How many held-out answers fit into the tokens that a generated answer may have."""

    answers: int
    unreachable: int
    """Answers with more tokens, the end token included."""
    longest: int
    """Tokens of the longest answer, the end token included."""
    max_new_tokens: int
    """The recipe's evaluation.max_new_tokens."""

    @classmethod
    def of(cls, num_tokens: NDArray[np.int64], max_new_tokens: int) -> "AnswerLengths":
        """The lengths of answers `[N]`, each in tokens with its end token."""
        unreachable = int((num_tokens > max_new_tokens).sum())
        return cls(len(num_tokens), unreachable, int(num_tokens.max(initial=0)), max_new_tokens)

    def remark(self) -> str | None:
        """A warning for readers of the scores; None where every answer can be generated."""
        if not self.unreachable:
            return None
        return (
            f"{self.unreachable} of {self.answers} held-out answers are longer than evaluation.max_new_tokens "
            f"{self.max_new_tokens} allows, so no generated answer can match them. The longest has "
            f"{self.longest} tokens with its end: evaluation.max_new_tokens={self.longest} is enough."
        )
