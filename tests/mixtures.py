"""Mixtures of rows that several processes train on, measure and answer together, again and again, on one tiny model.

Starting processes and joining them takes seconds, a mixture a fraction of one: a group of processes stays for many.
"""

import hashlib
import json
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import torch
from PIL import Image
from torch import nn

from phi3k_trainer.data.batches import collate, split_step
from phi3k_trainer.data.dataset import Example, StoredImage
from phi3k_trainer.data.encoding import Encoder, measure_examples
from phi3k_trainer.distributed.processes import Processes, joined_processes
from phi3k_trainer.evaluation.generation import Generator, Question
from phi3k_trainer.model.loading import load_config, load_model, save_model
from phi3k_trainer.model.tiny import build_tiny
from phi3k_trainer.prompts.conversation import Turn
from phi3k_trainer.prompts.encoding import SpecialTokens
from phi3k_trainer.prompts.tokenizer import load_tokenizer
from phi3k_trainer.recipe import parse_recipe
from phi3k_trainer.recipe.model import TinySection
from phi3k_trainer.training.optimization import add_gradients, clip_gradients, evaluating
from phi3k_trainer.training.parallel import TokenLoss, replicate, shard
from phi3k_trainer.tuning.model import build_tuned_model
from phi3k_trainer.tuning.precision import Precision
from tests.small_runs import CONTEXT

WINDOW = 48
"""Positions of the original RoPE window: a picture of one crop takes 13, a question some more than its words."""
MAX_NEW_TOKENS = 10
TUNINGS = {
    "everything": ("tuning.method=full", "tuning.vision=full", "tuning.projector=full"),
    "language adapters": ("tuning.method=lora", "tuning.dropout=0"),
    "adapters": ("tuning.method=lora", "tuning.dropout=0", "tuning.vision=lora", "tuning.projector=lora"),
}
RECIPE = """
apiVersion: phi3k/v1
name: mixture
model: {base: tiny, dtype: float32, num_crops: 2}
data: {source: sample, image: imageurl, answer: "{title}"}
"""
WORDS = ("red", "green", "blue", "orange", "coat", "scarf", "bag")
SECONDS_PER_MIXTURE = 60


@dataclass(frozen=True)
class Row:
    """What one row is made of."""

    num_pictures: int
    num_words: int
    """Of the question; each is a token."""
    num_answer_words: int


@dataclass(frozen=True)
class Mixture:
    """Rows, and how they are trained on and answered."""

    rows: tuple[Row, ...]
    tuning: str
    recompute: bool
    tokens_per_batch: int
    batch_size: int
    """Of the answers."""


@dataclass(frozen=True)
class Outcome:
    """What came of a mixture."""

    loss: float
    gradient_norm: float
    evaluation_loss: float
    answers: tuple[str, ...]


def write_base(directory: Path) -> Path:
    """Write a tiny model with a short original window, whose answers end sooner or later, and three pictures."""
    section = TinySection(hidden_size=32, num_layers=2, vision_hidden_size=32, vision_num_layers=3, patch_size=84)
    base = build_tiny(section, [" ".join(WORDS)] * 9, 0, directory / "base")
    model, tokenizer = load_model(base, dtype=torch.float32), load_tokenizer(base)
    likely = [
        *tokenizer.encode(" ".join(WORDS), add_special_tokens=False),
        *SpecialTokens.from_tokenizer(tokenizer).stop,
    ]
    with torch.no_grad():
        model.lm_head.weight[likely] *= 3
    save_model(model, base)
    config = json.loads((base / "config.json").read_text())
    factors = {"short_factor": [1.0] * 16, "long_factor": [1.0 + index / 4 for index in range(16)]}
    config |= {"original_max_position_embeddings": WINDOW, "rope_scaling": {"type": "su", **factors}}
    (base / "config.json").write_text(json.dumps(config))
    for number, size in enumerate(((60, 60), (120, 60), (60, 120))):
        Image.new("RGB", size, WORDS[number]).save(directory / f"{number}.png")
    return base


def prompt_lengths(base: Path, mixture: Mixture) -> list[int]:
    """Tokens of each row up to its answer."""
    encoder = Encoder(load_tokenizer(base), load_config(base), num_crops=2, max_pixels=10**6)
    examples = [_example(base.parent, number, row) for number, row in enumerate(mixture.rows)]
    return [encoder.prompt_length(example.turns[:-1], example.images) for example in examples]


class Group:
    """Processes that take mixtures together until they are closed."""

    def __init__(self, base: Path, parallel: str, num_processes: int) -> None:
        """Start `num_processes` processes with the model in `base`; `parallel` is `ddp` or `fsdp`."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        self._processes: list[ForkServerProcess] = []
        self._connections: list[Connection] = []
        for rank in range(num_processes):
            here, there = CONTEXT.Pipe()
            environment = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(num_processes)}
            environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            process = CONTEXT.Process(target=_work, args=(base, parallel, environment, there), daemon=True)
            process.start()
            there.close()
            self._processes.append(process)
            self._connections.append(here)

    def take(self, mixture: Mixture) -> list[Outcome]:
        """The outcome on each process, by rank."""
        for connection in self._connections:
            connection.send(mixture)
        outcomes: list[Outcome] = []
        for rank, connection in enumerate(self._connections):
            assert connection.poll(SECONDS_PER_MIXTURE), f"process {rank} waits for the others"
            outcomes.append(connection.recv())
        return outcomes

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()
            process.join()


def _work(base: Path, parallel: str, environment: dict[str, str], connection: Connection) -> None:
    os.environ.update(environment)
    torch.set_num_threads(1)
    learners: dict[tuple[str, bool], _Learner] = {}
    with joined_processes() as processes:
        while True:
            mixture: Mixture = connection.recv()
            key = (mixture.tuning, mixture.recompute)
            if key not in learners:
                learners[key] = _Learner(base, parallel, processes, *key)
            connection.send(learners[key].outcome(mixture))


class _Learner:
    """The model of one process under one way of tuning."""

    def __init__(self, base: Path, parallel: str, processes: Processes, tuning: str, recompute: bool) -> None:
        self._directory = base.parent
        self._processes = processes
        recipe = parse_recipe(RECIPE, overrides=TUNINGS[tuning])
        model = build_tuned_model(recipe, base, processes.device, recompute=recompute).model.train()
        self._loss: nn.Module = TokenLoss(model)
        if parallel == "fsdp":
            shard(model, processes, torch.float32)
        else:
            self._loss = replicate(self._loss, processes)
        self._precision = Precision(torch.float32, use_autocast=False)
        tokenizer = load_tokenizer(base)
        self._encoder = Encoder(tokenizer, model.config, num_crops=2, max_pixels=10**6)
        context = self._precision.context(processes.device)
        self._generator = Generator(model, self._encoder, tokenizer, MAX_NEW_TOKENS, 1, processes, lambda: context)

    def outcome(self, mixture: Mixture) -> Outcome:
        """Train on the rows without a step, measure their loss, and answer them."""
        model, processes = self._generator.model, self._processes
        examples = [_example(self._directory, number, row) for number, row in enumerate(mixture.rows)]
        data = measure_examples(self._encoder, examples, 10**6)
        everyone = range(len(examples))
        shares = split_step(
            everyone, data.num_tokens, mixture.tokens_per_batch, processes.world_size, length_boundary=WINDOW
        )
        batches = [collate([self._encoder.encode(examples[index]) for index in ids]) for ids in shares[processes.rank]]
        num_labels = int(data.num_labels.sum())

        total = add_gradients(
            self._loss,
            batches,
            step_labels=num_labels,
            processes=processes,
            precision=self._precision,
            dropout_key="",
        )
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        norm = clip_gradients(trained, 1.0, processes)
        self._loss.zero_grad(set_to_none=True)
        with evaluating(model):
            losses = [model.token_loss(**batch.model_inputs(processes.device, torch.float32))[0] for batch in batches]
            answers = self._answers(examples, mixture.batch_size)
        total, evaluated = processes.sum([total, torch.stack(losses).sum().item()])
        return Outcome(total / num_labels, norm, evaluated / num_labels, answers)

    def _answers(self, examples: Sequence[Example], batch_size: int) -> tuple[str, ...]:
        questions = [Question(one.key, one.turns[:-1], one.images) for one in examples]
        fields = {**self._generator.__dict__, "batch_size": batch_size}
        return tuple(Generator(**fields).answers(questions))


def _example(directory: Path, number: int, row: Row) -> Example:
    images, tags = [], ""
    for place in range(row.num_pictures):
        path = directory / f"{(number + place) % 3}.png"
        with Image.open(path) as picture:
            size = picture.size
        images.append(StoredImage(path, hashlib.sha256(path.read_bytes()).hexdigest(), *size))
        tags += f"<|image_{place + 1}|>\n"
    question, answer = (
        " ".join(WORDS[(number + word) % len(WORDS)] for word in range(count))
        for count in (row.num_words, row.num_answer_words)
    )
    return Example(str(number), (Turn("user", tags + question), Turn("assistant", answer)), tuple(images), {})
