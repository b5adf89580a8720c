"""From an example to token ids, labels and uint8 pictures, and how long it is without reading a pixel."""

import copy
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Self

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from phi3k_trainer.data.dataset import Example, StoredImage
from phi3k_trainer.data.pictures.files import read_picture_file
from phi3k_trainer.data.rows.rejection import Rejection
from phi3k_trainer.errors import DataError
from phi3k_trainer.images.decode import use_decoded
from phi3k_trainer.images.hd import hd_shape, hd_transform
from phi3k_trainer.model import Phi3VConfig
from phi3k_trainer.prompts.conversation import Turn
from phi3k_trainer.prompts.encoding import IGNORED, Encoding, encode, encode_prompt


@dataclass(frozen=True)
class EncodedExample:
    """One sample, ready to be collated."""

    input_ids: NDArray[np.int64]
    """[T]; -i stands for image i, counted from 1."""
    labels: NDArray[np.int64]
    """[T]; -100 where nothing is learned."""
    images: tuple[NDArray[np.uint8], ...]
    """[H, W, 3] each, resized and padded to multiples of 336."""


@dataclass(frozen=True)
class Measure:
    """The size of a sample."""

    num_tokens: int
    """Positions in the language model, image tokens included."""
    num_labels: int
    """Positions that something is learned at."""
    num_answer_tokens: int
    """Tokens of the last answer, its end token included."""


@dataclass(frozen=True)
class EncodedPrompt:
    """What a model is asked, up to where its answer begins."""

    input_ids: NDArray[np.int64]
    """[T]; -i stands for image i, counted from 1."""
    images: tuple[NDArray[np.uint8], ...]
    """[H, W, 3] each, resized and padded to multiples of 336."""


class Encoder:
    """Encodes examples for one model. Safe to call from several threads."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, config: Phi3VConfig, *, num_crops: int, max_pixels: int
    ) -> None:
        """Encode with `tokenizer`; a picture takes at most `num_crops` crops and has at most `max_pixels` pixels."""
        self._tokenizer = tokenizer
        self._config = config
        self._num_crops = num_crops
        self._max_pixels = max_pixels
        self._pictures = PictureCache(0)

    def with_cache(self, max_bytes: int) -> Self:
        """The same encoder, which keeps up to `max_bytes` of decoded pictures for the next epoch."""
        caching = copy.copy(self)
        caching._pictures = PictureCache(max_bytes)
        return caching

    def measure(self, example: Example) -> Measure:
        """Count the tokens and labels of `example` as `encode` will make them, from the pictures' sizes alone."""
        encoding = self._encode_text(example)
        is_learned = encoding.labels != IGNORED
        return Measure(len(is_learned), int(is_learned[1:].sum()), int(np.argmin(is_learned[::-1])))

    def encode(self, example: Example) -> EncodedExample:
        """Tokenise `example` and decode its pictures.

        Raises:
            DataError: a picture that was verified when the data was prepared can't be decoded any more.
        """
        encoding = self._encode_text(example)
        images = tuple(self._picture(image, example.key) for image in example.images)
        return EncodedExample(encoding.input_ids, encoding.labels, images)

    def prompt_length(self, turns: Sequence[Turn], images: Sequence[StoredImage]) -> int:
        """Count the tokens of what `encode_prompt` makes, from the pictures' sizes alone."""
        return len(encode_prompt(turns, self._image_tokens(images), self._tokenizer))

    def encode_prompt(self, turns: Sequence[Turn], images: Sequence[StoredImage], key: str) -> EncodedPrompt:
        """Tokenise the turns before an answer and decode their pictures; `key` names the row in messages.

        Raises:
            DataError: as `encode`.
        """
        input_ids = encode_prompt(turns, self._image_tokens(images), self._tokenizer)
        return EncodedPrompt(input_ids, tuple(self._picture(image, key) for image in images))

    def _encode_text(self, example: Example) -> Encoding:
        return encode(example.turns, self._image_tokens(example.images), self._tokenizer)

    def _image_tokens(self, images: Sequence[StoredImage]) -> list[int]:
        shapes = [hd_shape(image.width, image.height, self._num_crops) for image in images]
        return [self._config.image_tokens(*shape) for shape in shapes]

    def _picture(self, image: StoredImage, key: str) -> NDArray[np.uint8]:
        cached = self._pictures.get(image.sha256)
        if cached is not None:
            return cached
        try:
            data = read_picture_file(image.path, None).data
            pixels = use_decoded(
                data, lambda picture: hd_transform(picture, self._num_crops), max_pixels=self._max_pixels
            )
        except DataError as error:
            raise DataError(
                f"row {key}: its picture {image.path} was good when the data was prepared, and now it is not: {error}. "
                "Remove that file from the cache, or restore it, and run again with --resume"
            ) from error
        self._pictures.put(image.sha256, pixels)
        return pixels


class PictureCache:
    """The most recently used pictures, as uint8, up to a number of bytes. Safe to use from several threads."""

    def __init__(self, max_bytes: int) -> None:
        """Keep at most `max_bytes` of pixels."""
        self._max_bytes = max_bytes
        self._bytes = 0
        self._pictures: OrderedDict[str, NDArray[np.uint8]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: str) -> NDArray[np.uint8] | None:
        """The picture, which counts as used now, or None."""
        with self._lock:
            picture = self._pictures.get(key)
            if picture is not None:
                self._pictures.move_to_end(key)
            return picture

    def put(self, key: str, picture: NDArray[np.uint8]) -> None:
        """Keep `picture`, and forget those not used for longest."""
        with self._lock:
            if key in self._pictures:
                return
            self._pictures[key] = picture
            self._bytes += picture.nbytes
            while self._bytes > self._max_bytes:
                _, oldest = self._pictures.popitem(last=False)
                self._bytes -= oldest.nbytes


@dataclass(frozen=True)
class MeasuredExamples:
    """Examples that can be encoded, with their sizes, and those that can't."""

    examples: tuple[Example, ...]
    num_tokens: NDArray[np.int64]
    """[len(examples)] positions in the language model."""
    num_labels: NDArray[np.int64]
    """[len(examples)] positions that something is learned at, at least 1."""
    num_answer_tokens: NDArray[np.int64]
    """[len(examples)] tokens of the last answer, its end token included."""
    rejections: tuple[Rejection, ...]


def measure_examples(encoder: Encoder, examples: Iterable[Example], max_tokens: int) -> MeasuredExamples:
    """Measure every example; those without labels, with wrong tags or over `max_tokens` are set aside."""
    kept: list[Example] = []
    measures: list[Measure] = []
    rejections: list[Rejection] = []
    for example in examples:
        try:
            measure = encoder.measure(example)
        except DataError as error:
            rejections.append(Rejection(example.key, "not_encodable", str(error)))
            continue
        if measure.num_tokens > max_tokens:
            detail = f"{measure.num_tokens} tokens, over the {max_tokens} of data.max_tokens and the model's context"
            rejections.append(Rejection(example.key, "too_long", detail))
        elif measure.num_labels == 0:
            rejections.append(Rejection(example.key, "no_labels", "nothing could be learned from it"))
        else:
            kept.append(example)
            measures.append(measure)
    return MeasuredExamples(
        tuple(kept),
        np.array([measure.num_tokens for measure in measures], np.int64),
        np.array([measure.num_labels for measure in measures], np.int64),
        np.array([measure.num_answer_tokens for measure in measures], np.int64),
        tuple(rejections),
    )
