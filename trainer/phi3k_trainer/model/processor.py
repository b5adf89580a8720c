"""Text and pictures to model inputs, in transformers' calling convention and with the published numbers.

For programs that feed the model as they feed any other of transformers; training has a more compact path of its own
(`phi3k_trainer.data`). Importing this module registers both classes with `AutoProcessor` and `AutoImageProcessor`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoImageProcessor, AutoProcessor, BatchFeature, PreTrainedTokenizerFast, ProcessorMixin
from transformers.image_processing_utils import BaseImageProcessor

from phi3k_trainer.errors import DataError
from phi3k_trainer.files import read_json, write_json
from phi3k_trainer.images.decode import to_rgb
from phi3k_trainer.images.grid import CROP_SIZE, hd_shape, image_tokens
from phi3k_trainer.images.hd import IMAGE_MEAN, IMAGE_STD, hd_transform, views
from phi3k_trainer.model.configuration import Phi3VConfig
from phi3k_trainer.prompts.conversation import image_tag, split_at_images
from phi3k_trainer.prompts.encoding import encode_text
from phi3k_trainer.prompts.tokenizer import SpecialTokens, load_tokenizer, save_tokenizer

Picture = Image.Image | NDArray[np.uint8]
Message = Mapping[str, Any]

# What AutoProcessor and AutoImageProcessor pass on besides the directory.
_AUTO_CLASS_ARGUMENTS = frozenset({"_from_auto", "revision", "trust_remote_code"})


class Phi3VImageProcessor(BaseImageProcessor):  # type: ignore[misc]  # transformers isn't typed
    """The HD transform with the published form of its output.

    Args:
        num_crops: At most this many crops a picture, besides its global view.
        num_img_tokens: Tokens of one crop, as the model's configuration has it; 144 in the published models.
        image_mean: Must be CLIP's, like `image_std`: kept for the published file only.
        image_std: See `image_mean`.

    Raises:
        DataError: when `image_mean` or `image_std` are another model's.
    """

    model_input_names = ("pixel_values", "image_sizes")

    def __init__(
        self,
        num_crops: int = 1,
        num_img_tokens: int = 144,
        image_mean: Sequence[float] = IMAGE_MEAN,
        image_std: Sequence[float] = IMAGE_STD,
        **kwargs: Any,
    ) -> None:
        """Keep the settings; `kwargs` are those of transformers."""
        super().__init__(**kwargs)
        if not np.allclose([*image_mean, *image_std], [*IMAGE_MEAN, *IMAGE_STD], rtol=0, atol=1e-6):
            raise DataError(
                f"image_mean {image_mean} and image_std {image_std} are not CLIP's: another model's processor"
            )
        self.num_crops = num_crops
        self.num_img_tokens = num_img_tokens
        self.image_mean = list(image_mean)
        self.image_std = list(image_std)

    @classmethod
    def from_pretrained(cls, directory: str | Path, num_crops: int | None = None, **kwargs: Any) -> Self:
        """Read `preprocessor_config.json`, and from `config.json`, where there is one, how many tokens a crop has.

        Raises:
            MissingInputError: when `directory` has no `preprocessor_config.json`.
        """
        _refuse_unknown(kwargs)
        settings = read_json(Path(directory) / "preprocessor_config.json")
        if num_crops is not None:
            settings["num_crops"] = num_crops
        if (Path(directory) / "config.json").is_file():
            settings["num_img_tokens"] = Phi3VConfig(**read_json(Path(directory) / "config.json")).tokens_per_crop
        return cls(**{name: settings[name] for name in _SETTINGS if name in settings})

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> list[str]:
        """Write `preprocessor_config.json` as published, without the pointers to remote code."""
        _refuse_unknown(kwargs)
        path = Path(save_directory) / "preprocessor_config.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        named = {"image_processor_type": type(self).__name__, "processor_class": Phi3VProcessor.__name__}
        write_json(path, {"do_convert_rgb": True} | {name: getattr(self, name) for name in _SETTINGS} | named)
        return [str(path)]

    def calc_num_image_tokens(self, width: int, height: int) -> int:
        """Tokens of a picture of `width` x `height` pixels.

        Raises:
            ImageError: with reason `too_thin`.
        """
        return image_tokens(*hd_shape(width, height, self.num_crops), self.num_img_tokens)

    def preprocess(self, images: Picture | Sequence[Picture], return_tensors: str | None = "pt") -> BatchFeature:
        """Cut pictures into normalised views.

        Args:
            images: PIL pictures of any mode, or RGB arrays uint8 `[height, width, 3]`.
            return_tensors: `pt` or `np`.

        Returns:
            `pixel_values` float32 `[n, 1 + num_crops, 3, 336, 336]` filled up with zero crops whatever the pictures, so
            that several calls can be concatenated, as published; the model leaves the zero crops out. `image_sizes`
            int64 `[n, 2]` (height and width in pixels after padding), `num_img_tokens` (a list).

        Raises:
            DataError: when something is not a picture or there is none.
            ImageError: with reason `too_thin`.
        """
        pictures = [images] if isinstance(images, Image.Image | np.ndarray) else list(images)
        if not pictures:
            raise DataError("no pictures to process")
        padded = [torch.from_numpy(hd_transform(_as_rgb(picture), self.num_crops)) for picture in pictures]
        sizes = torch.tensor([picture.shape[:2] for picture in padded])
        crops = sizes // CROP_SIZE
        pixels = torch.zeros(len(padded), 1 + self.num_crops, 3, CROP_SIZE, CROP_SIZE)
        for row, picture in zip(pixels, padded, strict=True):
            seen = views(picture)
            row[: len(seen)] = seen
        features = BatchFeature({"pixel_values": pixels, "image_sizes": sizes}, tensor_type=return_tensors)
        features["num_img_tokens"] = [image_tokens(h, w, self.num_img_tokens) for h, w in crops.tolist()]
        return features


_SETTINGS = ("num_crops", "image_mean", "image_std", "num_img_tokens")


class Phi3VProcessor(ProcessorMixin):  # type: ignore[misc]  # transformers isn't typed
    """Tokenizer and image processor of a Phi-3-Vision model, called together.

    ```python
    processor = Phi3VProcessor.from_pretrained("path/to/model", num_crops=4)
    inputs = processor(text="<|user|>\\n<|image_1|>\\nWhat is this?<|end|>\\n<|assistant|>\\n", images=picture)
    ```
    """

    def __init__(
        self,
        image_processor: Phi3VImageProcessor,
        tokenizer: PreTrainedTokenizerFast,
        chat_template: str | None = None,
    ) -> None:
        """Take the parts; without a `chat_template` the tokenizer's counts."""
        super().__init__(image_processor, tokenizer, chat_template=chat_template or tokenizer.chat_template)

    @classmethod
    def from_pretrained(cls, directory: str | Path, num_crops: int | None = None, **kwargs: Any) -> Self:
        """Read the processor of a model directory in the published layout.

        Args:
            directory: Has `tokenizer.json`, `tokenizer_config.json` and `preprocessor_config.json`.
            num_crops: Instead of the number in `preprocessor_config.json`.
            kwargs: Only what transformers' Auto classes pass on.

        Raises:
            MissingInputError: naming the file that is not there.
            DataError: when the files are another model's.
        """
        _refuse_unknown(kwargs)
        return cls(Phi3VImageProcessor.from_pretrained(directory, num_crops), load_tokenizer(directory))

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> list[str]:
        """Write tokenizer and processor files in the published layout."""
        _refuse_unknown(kwargs)
        directory = Path(save_directory)
        written = self.image_processor.save_pretrained(directory)
        save_tokenizer(self.tokenizer, directory)
        write_json(directory / "processor_config.json", {"processor_class": type(self).__name__})
        return [*written, str(directory / "processor_config.json")]

    @property
    def model_input_names(self) -> list[str]:
        """The model's own names of what a call returns."""
        return ["input_ids", "attention_mask", "pixel_values", "image_sizes"]

    def __call__(
        self,
        text: str | Sequence[str],
        images: Picture | Sequence[Picture] | Sequence[Sequence[Picture]] | None = None,
        *,
        padding_side: Literal["left", "right"] | None = None,
        return_tensors: str | None = "pt",
    ) -> BatchFeature:
        """Encode texts with their pictures.

        Args:
            text: One text or several, with `<|image_1|>` ... where pictures stand, numbered anew in each text.
            images: The pictures of all texts one after the other, each text taking as many as it has tags;
                or a list of lists, one for each text.
            padding_side: Where shorter texts are filled up; without it the tokenizer's `padding_side`.
            return_tensors: `pt` or `np`.

        Returns:
            `input_ids` int64 `[B, T]` with `-i` in the places of a text's picture i, `attention_mask` int64 `[B, T]`,
            and where there are pictures `pixel_values` and `image_sizes` as from `Phi3VImageProcessor.preprocess`.

        Raises:
            DataError: when tags and pictures don't match, or something is not a picture.
        """
        texts = [text] if isinstance(text, str) else list(text)
        if not texts:
            raise DataError("no text to process")
        pictures = _by_text(texts, images)
        flat = [picture for own in pictures for picture in own]
        features = self.image_processor.preprocess(flat, return_tensors) if flat else BatchFeature({})
        counts = iter(features.pop("num_img_tokens") if flat else ())
        rows = [
            encode_text(one, [next(counts) for _ in own], self.tokenizer)
            for one, own in zip(texts, pictures, strict=True)
        ]
        ids, mask = _padded(
            rows,
            SpecialTokens.from_tokenizer(self.tokenizer).pad,
            left=(padding_side or self.tokenizer.padding_side) == "left",
        )
        return BatchFeature({"input_ids": ids, "attention_mask": mask, **features}, tensor_type=return_tensors)

    def apply_chat_template(
        self,
        conversation: Sequence[Message] | Sequence[Sequence[Message]],
        add_generation_prompt: bool = False,
        tokenize: bool = False,
        return_dict: bool = False,
        return_tensors: str | None = "pt",
    ) -> Any:
        """Render one conversation or several in the chat template.

        A message's content is text with image tags in it, or a list of `{"type": "text", "text": ...}` and
        `{"type": "image", "image": picture}`, whose pictures are numbered in order of appearance.

        Returns:
            The text (a list of texts for several conversations); with `tokenize` its `input_ids`; with
            `return_dict` besides everything a call returns.
        """
        several = not isinstance(conversation[0], Mapping)
        conversations: Sequence[Any] = conversation if several else [conversation]
        tagged = [_with_tags(messages) for messages in conversations]
        texts = [
            str(
                self.tokenizer.apply_chat_template(
                    messages,
                    chat_template=self.chat_template,
                    tokenize=False,
                    add_generation_prompt=add_generation_prompt,
                )
            )
            for messages, _ in tagged
        ]
        if not tokenize:
            return texts if several else texts[0]
        inputs = self(texts, [pictures for _, pictures in tagged], return_tensors=return_tensors)
        return inputs if return_dict else inputs["input_ids"]


def _by_text(texts: Sequence[str], images: Any) -> list[list[Picture]]:
    """The pictures of each text."""
    if images is None:
        return [[] for _ in texts]
    given: list[Any] = [images] if isinstance(images, Image.Image | np.ndarray) else list(images)
    if given and all(isinstance(own, list | tuple) for own in given):
        if len(given) != len(texts):
            raise DataError(f"{len(given)} lists of pictures for {len(texts)} texts: give one list for each text")
        return [list(own) for own in given]
    if len(texts) == 1:
        return [given]
    tags = [len(split_at_images(text)[1]) for text in texts]
    if sum(tags) != len(given):
        raise DataError(f"the texts have {sum(tags)} image tags, but {len(given)} pictures came with them")
    rest = iter(given)
    return [[next(rest) for _ in range(number)] for number in tags]


def _as_rgb(picture: Any) -> Image.Image:
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise DataError(f"an array {picture.dtype} {list(picture.shape)} is not a picture: pass uint8 [H, W, 3]")
        picture = Image.fromarray(picture)
    if not isinstance(picture, Image.Image):
        raise DataError(f"a {type(picture).__name__} is not a picture: pass PIL pictures or arrays uint8 [H, W, 3]")
    if 0 in picture.size:
        raise DataError(f"the picture has {picture.width} x {picture.height} pixels")
    return to_rgb(picture)


def _padded(rows: Sequence[NDArray[np.int64]], pad: int, *, left: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Token ids and attention mask, both int64 `[B, T]`."""
    longest = max(len(row) for row in rows)
    ids = np.full((len(rows), longest), pad, dtype=np.int64)
    mask = np.zeros_like(ids)
    for i, row in enumerate(rows):
        place = slice(longest - len(row), None) if left else slice(len(row))
        ids[i, place] = row
        mask[i, place] = 1
    return ids, mask


def _with_tags(messages: Sequence[Message]) -> tuple[list[dict[str, str]], list[Picture]]:
    """Messages with all content as text, and the pictures that stood in it."""
    pictures: list[Picture] = []
    tagged = []
    for message in messages:
        content = message["content"]
        if not isinstance(content, str):
            said = []
            for block in content:
                if block["type"] == "image":
                    pictures.append(block["image"])
                    said.append(image_tag(len(pictures)) + "\n")
                elif block["type"] == "text":
                    said.append(block["text"])
                else:
                    raise DataError(f"a message has content of type {block['type']!r}: only text and image are known")
            content = "".join(said)
        tagged.append({"role": message["role"], "content": content})
    return tagged, pictures


def _refuse_unknown(arguments: Mapping[str, Any]) -> None:
    if unknown := arguments.keys() - _AUTO_CLASS_ARGUMENTS:
        raise TypeError(f"unexpected arguments: {', '.join(sorted(unknown))}")


AutoImageProcessor.register(Phi3VConfig, image_processor_classes={"pil": Phi3VImageProcessor})
AutoProcessor.register(Phi3VConfig, Phi3VProcessor)
