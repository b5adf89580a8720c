"""What a team adds to the trainer's pod: the section `cluster.pod`."""

from typing import Self

from pydantic import Field, field_validator, model_validator

from phi3k_trainer.recipe.base import Section
from phi3k_trainer.recipe.environment import SECTION_OF, is_name

OBJECT_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
"""Name of a Secret or ConfigMap."""
SECRET_KEY = r"^[-._a-zA-Z0-9]+$"


class EnvFromSection(Section):
    """A Secret or a ConfigMap whose keys become variables: one of the two."""

    secret: str | None = Field(default=None, pattern=OBJECT_NAME)
    """Name of the Secret."""
    config_map: str | None = Field(default=None, pattern=OBJECT_NAME)
    """Name of the ConfigMap."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.secret is None) == (self.config_map is None):
            raise ValueError("should name either a secret or a config_map")
        return self


class SecretKeySection(Section):
    """One key of a Secret."""

    secret: str = Field(pattern=OBJECT_NAME)
    """Name of the Secret."""
    key: str = Field(pattern=SECRET_KEY)
    """Key in it."""


class PodSection(Section):
    """What a team adds to the trainer's pod."""

    env_from: tuple[EnvFromSection, ...] = Field(default=(), strict=False)
    """Secrets and ConfigMaps whose keys become variables, such as `{secret: object-store}`; they must be there."""
    env_secrets: dict[str, SecretKeySection] = Field(default_factory=dict)
    """Variables from keys of Secrets: `{AWS_SECRET_ACCESS_KEY: {secret: object-store, key: secret-key}}`."""

    @field_validator("env_secrets")
    @classmethod
    def _names_of_variables(cls, given: dict[str, SecretKeySection]) -> dict[str, SecretKeySection]:
        for name in sorted(given):
            if name in SECTION_OF:
                raise ValueError(f"can't set {name}: name its secret in cluster.{SECTION_OF[name]}")
            if not is_name(name):
                raise ValueError(f"{name!r} can't be the name of a variable: use letters, digits and _")
        return given
