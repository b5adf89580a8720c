"""Reading and writing models in the published layout, strictly: no weight is ever left random or out."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    StrictDataclassError,
)
from safetensors import SafetensorError
from transformers.utils import logging
from transformers.utils.import_utils import is_flash_attn_2_available

from phi3k_trainer.certificates import certificates_problem
from phi3k_trainer.credentials import refuse_hub_token_in_clear
from phi3k_trainer.errors import (
    DataError,
    MissingInputError,
    PermissionDeniedError,
    StorageError,
    UnavailableError,
)
from phi3k_trainer.files import read_json
from phi3k_trainer.model.configuration import Phi3VConfig
from phi3k_trainer.model.modeling import Phi3VForCausalLM
from phi3k_trainer.model.stored import (
    EMBEDDING,
    WEIGHTS,
    WEIGHTS_INDEX,
    Shape,
    check_keys,
    read_weights,
    stored_weights,
)
from phi3k_trainer.prompts.tokenizer import SpecialTokens, load_tokenizer
from phi3k_trainer.remote.addresses import is_address
from phi3k_trainer.remote.mirror import bring, mirror_path

Attention = Literal["auto", "sdpa", "flash_attention_2", "eager"]
_HEAD = "lm_head.weight"
_WANTED = ("*.json", "*.safetensors", "tokenizer.model", "*.jinja")
"""No remote code, no other format of the weights. The last two are for an export: other programs may read them."""


def load_model(
    directory: Path, *, dtype: torch.dtype, attention: Attention = "auto", device: str | torch.device = "cpu"
) -> Phi3VForCausalLM:
    """Load a model in the published layout, for evaluation (`.train()` is the caller's).

    The network is built without memory and then given the stored tensors, so the peak is one copy of the weights.
    Keys and shapes are checked before anything is read. Generation ends where the tokenizer in the directory says.

    Raises:
        MissingInputError: No such directory, no config or no weights in it, or a file that can't be read.
        DataError: The weights or the tokenizer belong to another model.
    """
    config = load_config(directory)
    config._attn_implementation = attention_kernel(attention, dtype, device)
    stored = stored_weights(directory)
    if config.tie_word_embeddings:
        stored.pop(_HEAD, None)
    expected = published_keys(config)
    check_keys({name: weight.shape for name, weight in stored.items()}, expected, directory)
    special = _special_tokens(directory, config)
    with torch.device("meta"):
        model = Phi3VForCausalLM(config)
    weights = read_weights(stored, expected, dtype, torch.device(device))
    if config.tie_word_embeddings:
        weights[_HEAD] = weights[EMBEDDING]
    model.load_state_dict(weights, strict=True, assign=True)
    model.tie_weights()
    model.model.vision_embed_tokens.img_processor.vision_model.restore_positions(torch.device(device))
    config.dtype = dtype
    if special is not None:
        model.generation_config.eos_token_id = list(special.stop)
        model.generation_config.pad_token_id = special.pad
        model.generation_config.bos_token_id = special.bos
    model.eval()
    return model


def save_model(model: Phi3VForCausalLM, directory: Path, max_shard_size: str = "5GB") -> None:
    """Write config and weights in the published layout, under the published key names.

    Raises:
        StorageError: The directory can't be written, or the disk is full.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for stale in (WEIGHTS, WEIGHTS_INDEX):
            (directory / stale).unlink(missing_ok=True)
        with _no_progress_bar():
            model.save_pretrained(directory, max_shard_size=max_shard_size)
        # safetensors makes its files private to this user; the umask decides here, as it does for the JSON beside them.
        mode = stat.S_IMODE((directory / "config.json").stat().st_mode)
        for file in directory.glob("*.safetensors"):
            file.chmod(mode)
    except (OSError, SafetensorError) as problem:
        raise StorageError(f"the model can't be written to {directory}: {problem}") from problem


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    is_shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if is_shown:
            logging.enable_progress_bar()


def load_config(directory: Path) -> Phi3VConfig:
    """The configuration of a model directory.

    Raises:
        MissingInputError: There is no such directory, or no readable `config.json` in it.
        DataError: It is the configuration of another kind of model, or contradicts itself.
    """
    if not directory.is_dir():
        raise MissingInputError(f"the model directory {directory} does not exist")
    path = directory / "config.json"
    content = read_json(path)
    if content.get("model_type") != Phi3VConfig.model_type:
        raise DataError(f"{path} describes a model of type {content.get('model_type')!r}, not 'phi3_v'")
    try:
        return Phi3VConfig(**content)
    except (StrictDataclassError, TypeError, ValueError, KeyError) as problem:
        raise DataError(f"{path} is not a valid Phi-3-Vision configuration: {problem}") from problem


def attention_kernel(attention: Attention, dtype: torch.dtype, device: str | torch.device) -> str:
    """The kernel to ask transformers for: `auto` is flash attention where it is installed and usable, else SDPA."""
    if attention != "auto":
        return attention
    is_usable = torch.device(device).type == "cuda" and dtype in (torch.bfloat16, torch.float16)
    return "flash_attention_2" if is_usable and is_flash_attn_2_available() else "sdpa"


def published_keys(config: Phi3VConfig) -> dict[str, Shape]:
    """Every key of a checkpoint of this configuration, with its shape. Needs no memory for weights."""
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in Phi3VForCausalLM(config).state_dict().items()}
    if config.tie_word_embeddings:
        del shapes[_HEAD]
    return shapes


def hub_id(base: str) -> str | None:
    """The hub repository that `model.base` names, None where it is a directory here or in an object store."""
    if is_address(base):
        owner, _, name = base.partition("://")[2].rstrip("/").partition("/")
        is_repository = base.startswith("hf://") and name and "/" not in name
        return f"{owner}/{name.partition('@')[0]}" if is_repository else None
    return None if Path(base).expanduser().exists() else base


def hub_commit(base: str, directory: Path) -> str | None:
    """The commit of the hub that the download in `directory` is of; None where `base` is a directory here."""
    is_download = hub_id(base) is not None and directory.parent.name == "snapshots"
    return directory.name if is_download else None


def resolve_base(base: str, revision: str | None, cache: str) -> Path:
    """The directory of a model: `base` itself where it is one, else a copy of what the store or the hub has.

    Args:
        base: A local directory, an address, or a hub id such as `microsoft/Phi-3-vision-128k-instruct`.
        revision: Commit, tag or branch of the hub's repository; None takes the newest.
        cache: The directory `data.cache`, for the copy of an address.

    Raises:
        MissingInputError: Nothing of that name is there, or no such revision.
        PermissionDeniedError: The repository is gated or private, credentials are missing, or a token would go to
            HF_ENDPOINT in clear.
        UnavailableError: The hub or the store can't be reached and the download isn't complete.
        StorageError: The copy can't be written.
    """
    if is_address(base):
        place = Path(cache).expanduser().absolute()
        bring(base, place, lambda name: any(fnmatch(name, pattern) for pattern in _WANTED))
        return mirror_path(base, place)
    local = Path(base).expanduser()
    if local.is_dir():
        return local
    if local.exists():
        raise MissingInputError(f"model.base {base!r} is a file: name the model's directory")
    if local.is_absolute() or base.startswith((".", "~")) or base.count("/") != 1:
        raise MissingInputError(f"model.base {base!r} is not there: no such directory, and not a hub id (owner/name)")
    refuse_hub_token_in_clear()
    try:
        return Path(snapshot_download(base, revision=revision, allow_patterns=list(_WANTED)))
    except GatedRepoError as problem:
        raise PermissionDeniedError(
            f"the hub repository {base} is gated: accept its terms on the hub and set HF_TOKEN"
        ) from problem
    except RevisionNotFoundError as problem:
        raise MissingInputError(f"the hub repository {base} has no revision {revision!r} (model.revision)") from problem
    except (RepositoryNotFoundError, HFValidationError) as problem:
        raise MissingInputError(
            f"model.base {base!r} is neither a directory here nor a repository on the hub"
            " (a private one needs HF_TOKEN)"
        ) from problem
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as problem:
        raise UnavailableError(
            f"the hub can't be reached for {base}, and no complete download is in its cache: "
            f"{certificates_problem() or problem}. Set model.base to a local directory, or make the hub reachable"
        ) from problem


def _special_tokens(directory: Path, config: Phi3VConfig) -> SpecialTokens | None:
    if not (directory / "tokenizer.json").is_file():
        return None
    tokenizer = load_tokenizer(directory)
    if len(tokenizer) > config.vocab_size:
        raise DataError(
            f"the tokenizer in {directory} has {len(tokenizer)} tokens and the model {config.vocab_size}:"
            " it belongs to another model"
        )
    return SpecialTokens.from_tokenizer(tokenizer)
