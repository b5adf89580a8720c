"""Where rows and pictures come from: the section `data`."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, Strict, field_validator, model_validator, with_config
from typing_extensions import TypedDict

from phi3k_trainer.errors import RecipeError
from phi3k_trainer.recipe.base import Section
from phi3k_trainer.remote.addresses import checked as checked_address
from phi3k_trainer.sources import SourceName, source_named
from phi3k_trainer.templates.json_object import JsonTemplate
from phi3k_trainer.templates.text import Template


class FetchSection(Section):
    """How pictures behind URLs are fetched into the content-addressed store."""

    concurrency: int = Field(default=16, ge=1, le=256)
    """Downloads at the same time."""
    timeout_seconds: float = Field(default=20.0, gt=0)
    """Longest wait for a connection or for the next bytes; a whole download may take five times as long."""
    attempts: int = Field(default=4, ge=1)
    """Attempts for each picture, with exponential back-off and jitter between them."""
    max_bytes: int = Field(default=20_000_000, ge=1)
    """A longer body is cut off and counted as a failure."""
    max_redirects: int = Field(default=5, ge=0)
    """A longer chain of redirects is a failure."""
    private_addresses: bool = False
    """Whether URLs may lead to loopback, link-local and private addresses."""


class SampleSection(Section):
    """The size of the rendered sample catalogue (source `sample`)."""

    rows: int = Field(default=3000, ge=1)
    """Rows of the catalogue."""
    seed: int = 0
    """The same seed gives the same catalogue, byte for byte."""
    image_size: int = Field(default=336, ge=32, le=4096)
    """Edge of the rendered pictures in pixels."""
    price_factor: float = Field(default=1.0, gt=0)
    """Multiplies every price before it is put on the shop's price points: a changed catalogue for a second stage."""
    kinds: Literal["basic", "extended"] = "basic"
    """`extended` adds two garment kinds that `basic` doesn't have."""


@with_config(ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True))
class JsonAnswer(TypedDict):
    """An answer that is one JSON object."""

    json: dict[str, str]
    """For each key a template; a key that ends in `?` is left out where the row has no value."""


class DataSection(Section):
    """Rows, their pictures, and the conversation made from them."""

    source: SourceName
    """What kind of data set `path` is."""
    path: str | None = None
    """Hub id, file, directory, or address (`s3://bucket/rows.csv`, a folder, or a pattern such as `s3://bucket/*.csv`).

    The source `sample` needs none: with null its catalogue is kept in the cache.
    """
    revision: str | None = None
    """Commit of a hub data set."""
    split: str = "train"
    """Split of a hub data set."""
    image: str | Annotated[tuple[str, ...], Strict(False)] | None = "image"
    """Column (or columns, in order) with a picture: bytes, a path, a URL or an image feature; null for text only."""
    image_root: str | None = None
    """Directory or address that relative picture paths start from; null: the directory of `path`."""
    key: str | None = None
    """Column that identifies a row across versions of the data; null hashes the row's content."""
    prompt: str = "What is shown in this image?"
    """The user's question: a template over the columns. Pictures come first unless it contains `<|image_1|>`."""
    answer: str | JsonAnswer | None = None
    """What the assistant should say: a template such as `Product: {title}`; not where rows bring their own turns.

    `{json: {title: "{title}", "colour?": "{colour}"}}` makes one JSON object with a template for each key. A key that
    ends in `?` is left out where the row has no value.
    """
    system: str | None = None
    """The system message at the start; null: none."""
    eval_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Share of the rows held out by a stable hash; rows that share a key or a picture stay together."""
    max_rows: int | None = Field(default=None, ge=1)
    """At most this many rows (those with the smallest key hash)."""
    max_tokens: int = Field(default=8192, ge=16)
    """Most tokens of a sample; the row of a longer one goes to quarantine."""
    max_pixels: int = Field(default=89_000_000, ge=1)
    """A picture with more pixels is not decoded: it goes to quarantine."""
    max_bytes: int = Field(default=100_000_000, ge=1)
    """A local picture, or one inside the table, with more bytes is not read: it goes to quarantine."""
    error_budget: float = Field(default=0.05, ge=0, le=1)
    """Share of rows that may end in quarantine before the run stops."""
    cache: str = "~/.cache/phi3k"
    """Directory of the content-addressed store and prepared data, shared by runs."""
    fetch: FetchSection = FetchSection()
    """How pictures behind URLs are fetched."""
    sample: SampleSection = SampleSection()
    """The catalogue of source `sample`."""

    @field_validator("path", "image_root")
    @classmethod
    def _paths_can_be_read(cls, path: str | None) -> str | None:
        return checked_address(path)

    @field_validator("answer", mode="before")
    @classmethod
    def _answer_is_text_or_json(cls, answer: object) -> object:
        if answer is None or isinstance(answer, str):
            return answer
        templates = answer.get("json") if isinstance(answer, dict) and list(answer) == ["json"] else None
        if not isinstance(templates, dict) or not all(isinstance(text, str) for text in templates.values()):
            raise ValueError("should be a template, or {json: {title: '{title}'}} with a template for each key")
        return answer

    @field_validator("prompt", "system")
    @classmethod
    def _text_has_no_mistake(cls, text: str | None) -> str | None:
        try:
            if text is not None:
                Template(text)
        except RecipeError as error:
            raise ValueError(str(error)) from error
        return text

    @field_validator("answer")
    @classmethod
    def _answer_can_be_read_back(cls, answer: str | JsonAnswer | None) -> str | JsonAnswer | None:
        try:
            if answer is not None:
                _template(answer).parse("")
        except RecipeError as error:
            raise ValueError(str(error)) from error
        return answer

    @model_validator(mode="after")
    def _source_has_what_it_needs(self) -> Self:
        source = source_named(self.source)
        if source.example is not None and not self.path:
            raise ValueError(f"source '{self.source}' needs data.path")
        if source.own_turns:
            if self.answer is not None:
                raise ValueError(f"source '{self.source}' brings its own answers: remove data.answer")
        elif not self.answer:
            raise ValueError(f"source '{self.source}' needs data.answer, a template such as 'Product: {{title}}'")
        return self

    @property
    def answer_template(self) -> Template | JsonTemplate | None:
        """The template of `answer`, None where rows bring their own turns."""
        return None if self.answer is None else _template(self.answer)

    @property
    def image_columns(self) -> tuple[str, ...]:
        """The picture columns in order, possibly none."""
        if self.image is None:
            return ()
        if self.image == type(self).model_fields["image"].default:
            return (source_named(self.source).picture,)
        return (self.image,) if isinstance(self.image, str) else self.image


def _template(text: str | JsonAnswer) -> Template | JsonTemplate:
    return Template(text) if isinstance(text, str) else JsonTemplate(text["json"])
