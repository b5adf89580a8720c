"""What other programs need beside the weights: the base's tokenizer files and the place of its remote code.

transformers has no `phi3_v`, so vLLM, OpenVINO and transformers itself find the classes through `auto_map`, an entry
of three files that names a module in the model's directory, or in a hub repository: `owner/name--module.Class`
(https://huggingface.co/docs/transformers/custom_models).
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi3k_trainer.files import read_json, write_json

# Whatever of these the base has. Written anew, they would lose what other programs read: vLLM makes other token ids
# without `additional_special_tokens`, and tokenizers before 0.20 can't read today's form of tokenizer.json.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "chat_template.json",
    "chat_template.jinja",
)
CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
PROCESSOR = "processor_config.json"
# AutoProcessor asks processor_config.json first and, where that has no auto_map, looks no further.
CLASSES = {
    CONFIG: ("AutoConfig", "AutoModelForCausalLM"),
    PREPROCESSOR: ("AutoImageProcessor", "AutoProcessor"),
    PROCESSOR: ("AutoProcessor",),
}
AUTO_MAP = "auto_map"
_FROM_THE_HUB = "--"


@dataclass(frozen=True)
class RemoteCode:
    """Where the classes of the published model are, as the files of an export say it."""

    references: Mapping[str, str]
    """Auto class -> `module.Class` of a file in the directory, or `owner/name--module.Class`."""
    files: tuple[Path, ...] = ()
    """The base's own Python files, where the references name those."""
    absent: str = ""
    """Why other programs will not find the code; empty where they will."""


def find_remote_code(base: Path, hub_id: str | None, *, is_published_tower: bool) -> RemoteCode:
    """Read from the base's files where its remote code is. Nothing of it is imported.

    Args:
        base: The directory of the model that training started from.
        hub_id: The hub repository that it was downloaded from, None for a directory of the user's own.
        is_published_tower: Whether the vision tower has the published sizes. Every other program has those fixed.
    """
    if not is_published_tower:
        return RemoteCode({}, absent="its vision tower is not the published one, which every other program expects")
    named: dict[str, str] = {}
    for file in CLASSES:
        if (base / file).is_file():
            named |= read_json(base / file).get(AUTO_MAP, {})
    wanted = {name for names in CLASSES.values() for name in names}
    if missing := sorted(wanted - named.keys()):
        return RemoteCode({}, absent=f"auto_map in the JSON files of {base} does not name {', '.join(missing)}")
    own = {name: place for name, place in named.items() if name in wanted and _FROM_THE_HUB not in place}
    if own and hub_id is None:
        absent = sorted({module for place in own.values() if not (base / (module := _module_file(place))).is_file()})
        if absent:
            return RemoteCode(
                {},
                absent=f"{base} has no {', '.join(absent)}: copy the Python files of the published model there, or set "
                "model.base to its hub id, and export again",
            )
        return RemoteCode({name: named[name] for name in wanted}, tuple(sorted(base.glob("*.py"))))
    prefixed = {name: f"{hub_id}{_FROM_THE_HUB}{place}" for name, place in own.items()}
    return RemoteCode({name: named[name] for name in wanted} | prefixed)


def _module_file(place: str) -> str:
    return f"{place.rpartition('.')[0]}.py"


def complete_layout(directory: Path, base: Path, code: RemoteCode) -> None:
    """Make an export readable for other programs: tokenizer files as the base has them, and the references to the code.

    `directory` already has config.json with the weights, and preprocessor_config.json. Raises OSError.
    """
    for name in TOKENIZER_FILES:
        if (base / name).is_file():
            shutil.copyfile(base / name, directory / name)
    for module in code.files:
        shutil.copyfile(module, directory / module.name)
    config = read_json(directory / CONFIG)
    if isinstance(config.get("eos_token_id"), list):
        # Some programs take one number only; generation_config.json has them all.
        config["eos_token_id"] = config["eos_token_id"][0]
    preprocessor = read_json(directory / PREPROCESSOR)
    contents = {
        CONFIG: config,
        PREPROCESSOR: preprocessor,
        PROCESSOR: {"processor_class": preprocessor["processor_class"]},
    }
    for file, content in contents.items():
        write_json(directory / file, _with_references(content, file, code.references))


def _with_references(content: Mapping[str, Any], file: str, references: Mapping[str, str]) -> dict[str, Any]:
    own = {name: references[name] for name in CLASSES[file] if name in references}
    return {**content, AUTO_MAP: own} if own else dict(content)
