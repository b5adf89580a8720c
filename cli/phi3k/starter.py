"""The recipe that `phi3k init` writes."""

import json

from phi3k_trainer.sources import Source

TEMPLATE = """\
# Fine-tune Phi-3-Vision on your own data. `phi3k recipe reference` explains every field;
# what is not said here has its default (`phi3k recipe show FILE` prints all that is in force).
apiVersion: phi3k/v1
name: {name}

model:
  # A hub id, a local directory in the published layout, or `tiny` to try everything on a laptop.
  base: {base}
  # At most this many 336-pixel crops a picture: more show finer detail and cost more tokens.
  num_crops: 4
  # Old GPUs (V100, T4) and CPUs have no fast bfloat16: float32 there.
  dtype: bfloat16

data:
  source: {source}
{data}
  # Held out for evaluation, by a stable hash of the row, never by position.
  eval_fraction: 0.1

tuning:
  # lora fits one 24 GB GPU, qlora one of 16 GB; full wants several of 80 GB.
  method: lora
  rank: 64
  alpha: 128
  # `frozen`, `lora` or `full`: train these too when pictures look unlike photographs.
  vision: frozen
  projector: frozen

training:
  epochs: 1
  learning_rate: 2e-4
  # A step takes samples until it holds this many tokens, whatever the number of GPUs.
  tokens_per_step: 32768

evaluation:
  # Answer fields that are categories get an accuracy, for example [category].
  categories: []

tracking:
  # auto goes online with credentials and a reachable server, else offline; off writes local files only.
  wandb: {{mode: auto}}
"""


def starter_recipe(*, source: Source, path: str | None, image: str, answer: str, name: str, base: str) -> str:
    """The text of a commented recipe; values are quoted where YAML needs it."""
    where = path or source.example
    lines = []
    if where is not None:
        lines.append(f"  path: {_scalar(where)}")
    if not source.own_turns:
        column = source.picture if image == "image" else image
        lines += [
            "  # The column with the picture: a path, a URL or bytes.",
            f"  image: {_scalar(column)}",
            "  # Both are templates over the columns.",
            "  prompt: What is shown in this image?",
            f"  answer: {_scalar(answer)}",
        ]
    return TEMPLATE.format(name=_scalar(name), base=_scalar(base), source=source.name, data="\n".join(lines))


def _scalar(text: str) -> str:
    """Text as a YAML scalar: JSON strings are YAML strings."""
    plain = text.replace("/", "").replace("-", "").replace("_", "").replace(".", "")
    is_word = plain.isalnum() and text[0].isalpha() and text.lower() not in ("true", "false", "null")
    return text if is_word else json.dumps(text, ensure_ascii=False)
