"""One stage of a run: as many steps as the time allows, from where the last stage ended.

The folder of a run holds ``prepared/`` (unless a prepared corpus was given), ``checkpoint.pt``,
``stable.pt`` (the last checkpoint before the rate decays, from which a longer run can go on),
``curve.jsonl``, ``run.json`` and, when it is finished, ``result/``: all that has to come back from
another machine, each file small.
"""

from __future__ import annotations

import math
import platform
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from interns.errors import InternsError, InvalidInput
from interns.gguf.writing import whole_file
from training.artifacts import require_space, write_json
from training.pretraining.chat import PAD
from training.pretraining.checkpoint import (
    Checkpoint,
    check_identity,
    load_checkpoint,
    random_state,
    recipe_sha256,
    restore_random,
)
from training.pretraining.curves import Curve, draw
from training.pretraining.folder import owned
from training.pretraining.packing import Reader
from training.pretraining.preparing import Order, is_prepared, load_corpus, prepare
from training.pretraining.recipe import TOKENIZER, PretrainRecipe
from training.pretraining.schedule import decay_begins
from training.pretraining.shards import write_shards
from training.pretraining.throughput import flops_per_token
from training.pretraining.tokenizer import control_id, load_tokenizer, tokenizer_sha256
from training.pretraining.tokens import TokenFile
from training.pretraining.trainer import Trainer
from training.reference import pick_device

CHECKPOINT, STABLE, CURVE = "checkpoint.pt", "stable.pt", "curve.jsonl"
FACTS, RESULT = "run.json", "result"
_REPORT_S = 5.0
_BYTES_PER_WEIGHT = 24  # weights and a moment in fp32; three times when the rate begins to decay


@dataclass(frozen=True)
class Job:
    """A run and where it lives.

    Attributes:
        recipe: What to make.
        corpus: Folder of texts, or of token files made before.
        sets: Folder of instruction sets, or None.
        out: The run's folder.
        until: When the stage ends, on `time.monotonic`'s clock.
    """

    recipe: PretrainRecipe
    corpus: Path
    sets: Path | None
    out: Path
    until: float = math.inf


class _Pace:
    """How fast this stage is; the first step is left out, since it may compile."""

    def __init__(self, tokens_per_step: int, flops: float) -> None:
        self._per_step, self._flops = tokens_per_step, flops
        self.steps, self.seconds, self.longest = 0, 0.0, 0.0
        self._first = True

    def add(self, seconds: float) -> None:
        """Count one step."""
        self.longest = seconds if self._first else max(self.longest if self.steps else 0, seconds)
        if not self._first:
            self.steps, self.seconds = self.steps + 1, self.seconds + seconds
        self._first = False

    @property
    def tokens_per_s(self) -> float:
        """Token-steps per second, padding included; 0 before the second step."""
        return self.steps * self._per_step / self.seconds if self.seconds else 0.0

    @property
    def teraflops(self) -> float:
        """Achieved 10^12 floating-point operations per second."""
        return self.tokens_per_s * self._flops / 1e12


def run_stage(job: Job, report: Callable[[str], None]) -> dict[str, Any]:
    """Prepare what is missing, learn until the time is over or the run is finished.

    Returns:
        ``finished``, ``step``, ``steps``, ``tokens_per_s``, ``teraflops``, the last ``held_out``
        losses and, when finished, the ``result`` folder.

    Raises:
        InvalidInput: There is no corpus, none of the known sets, or no folder can be made.
        Incompatible: The folder belongs to another recipe, tokenizer or corpus.
        BrokenFile: The corpus, a token file or the checkpoint is damaged.
        NoSpace: The disk is full; the last checkpoint stands.
        Conflict: Another process works in this folder.
        InternsError: The loss or a weight is no number any more; the last checkpoint stands.
    """
    with owned(job.out):
        stage = _Stage(job, report)
        if not stage.prepared():
            return {"finished": False, "step": 0, "steps": job.recipe.course.steps}
        return stage.learn()


class _Stage:
    def __init__(self, job: Job, report: Callable[[str], None]) -> None:
        self.job, self.report = job, report
        self.recipe = job.recipe
        self.checkpoint = job.out / CHECKPOINT
        self.curve = Curve(job.out / CURVE)
        path = job.recipe.tokenizer or Path(TOKENIZER)
        self.tokenizer: Tokenizer = load_tokenizer(path, job.recipe.shape.vocabulary)
        given = is_prepared(job.corpus)
        self.token_files = job.corpus if given else job.out / "prepared"
        self.device = pick_device()
        tokens = self.recipe.course.rows * self.recipe.shape.context
        self.pace = _Pace(tokens, flops_per_token(self.recipe.shape))
        self.step, self.seconds, self.saved = 0, 0.0, 0.0

    def prepared(self) -> bool:
        """Make the token files unless they were given; whether all are there."""
        if self.token_files == self.job.corpus:
            if self.job.sets is not None:
                raise InvalidInput(
                    f"{self.job.corpus} holds token files made before: --sets would not be read.",
                    "Leave --sets out, or give the folder of texts with --corpus.",
                )
            return True
        order = Order(self.job.corpus, self.job.sets, self.token_files, self.recipe.course)
        return prepare(order, self.tokenizer, self.report, until=self.job.until)

    @cached_property
    def corpus(self) -> tuple[list[TokenFile], str]:
        """Token files and their fingerprint."""
        return load_corpus(self.token_files, self.tokenizer)

    def identity(self, step: int) -> Mapping[str, str]:
        """What a checkpoint after `step` steps must have been made with."""
        return {
            "recipe": recipe_sha256(self.recipe, step),
            "tokenizer": tokenizer_sha256(self.tokenizer),
            "corpus": self.corpus[1],
        }

    def learn(self) -> dict[str, Any]:
        """Do steps, save, and write the result when all are done."""
        files, _ = self.corpus
        found = load_checkpoint(self.checkpoint) if self.checkpoint.is_file() else None
        if found is not None:
            check_identity(found, self.identity(found.step), self.checkpoint)
        require_space(
            self.job.out, self.recipe.shape.parameters * _BYTES_PER_WEIGHT, "A checkpoint"
        )
        reader = Reader(files, self.recipe, control_id(self.tokenizer, PAD))
        trainer = Trainer(self.recipe, self.device)
        if found is not None:
            trainer.load(found.weights, found.optimizers)
            restore_random(found.random)
            self.step, self.seconds = found.step, found.seconds
        self._announce(trainer)
        self.curve.cut(self.step)
        self._go_on(trainer, reader)
        return self._finish(trainer)

    def _go_on(self, trainer: Trainer, reader: Reader) -> None:
        course = self.recipe.course
        looks = reader.held_out()
        last_save = last_report = time.monotonic()
        batch = reader.batch(self.step) if self.step < course.steps else None
        while batch is not None:
            began = time.monotonic()
            loss, norm = trainer.step(self.step, batch)
            batch = reader.batch(self.step + 1) if self.step + 1 < course.steps else None
            self._check(float(loss), float(norm), reader)
            self.step += 1
            now = time.monotonic()
            self.pace.add(now - began)
            self.seconds += now - began
            self.curve.add({"step": self.step, "loss": round(float(loss), 6)})
            if self.step % course.held_out_every == 0 or batch is None:
                self.curve.add({"step": self.step, "held_out": trainer.held_out(looks)})
            if now - last_report >= _REPORT_S:
                last_report = now
                self._progress(float(loss))
            over = time.monotonic() + 2 * (self.pace.longest + self.saved) > self.job.until
            turn = self.step == decay_begins(course) and batch is not None
            if over or turn or batch is None or now - last_save >= course.checkpoint_s:
                self._save(trainer)
                last_save = time.monotonic()
            if turn:
                with whole_file(self.job.out / STABLE) as partial:
                    shutil.copyfile(self.checkpoint, partial)
            if over:
                return

    def _check(self, loss: float, norm: float, reader: Reader) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        number = self.step + 1
        raise InternsError(
            f"The loss is {loss:g} and the gradient's norm {norm:g} in step {number}, which read "
            f"{reader.describe(self.step)}. {self._kept()}.",
            f"Look at those rows: `python -m training.pretrain show RECIPE --corpus "
            f"{self.token_files} --step {number}`. If they are fine, lower matrix_rate and "
            "other_rate and begin anew.",
        )

    def _kept(self) -> str:
        return "The last checkpoint stands" if self.checkpoint.is_file() else "Nothing was kept"

    def _save(self, trainer: Trainer) -> None:
        if not trainer.is_finite():
            raise InternsError(
                f"A weight is no number after step {self.step}, although the loss of that step was one. "
                f"{self._kept()}.",
                "Give the same command again; if it ends here again, lower matrix_rate and "
                "other_rate and begin anew.",
            )
        began = time.monotonic()
        self.curve.sync()
        Checkpoint(
            identity=self.identity(self.step),
            step=self.step,
            weights=trainer.model.state_dict(),
            optimizers=tuple(optimizer.state_dict() for optimizer in trainer.optimizers),
            random=random_state(),
            seconds=self.seconds,
        ).save(self.checkpoint)
        self.saved = time.monotonic() - began

    def _announce(self, trainer: Trainer) -> None:
        shape, course = self.recipe.shape, self.recipe.course
        self.report(
            f"{self.recipe.name}: {shape.parameters / 1e6:.1f} M parameters, {course.steps} steps of "
            f"{course.rows} × {shape.context} tokens ({self.recipe.tokens / 1e6:.0f} M in all), "
            f"{flops_per_token(shape) / 1e6:.0f} MFLOP per token, on {_device_name(self.device)} "
            f"with {trainer.attention} attention{f' ({trainer.note})' * bool(trainer.note)}"
        )
        if self.step:
            self.report(f"Going on after step {self.step}.")

    def _progress(self, loss: float) -> None:
        left = self.recipe.course.steps - self.step
        speed = self.pace.tokens_per_s
        tokens = left * self.recipe.course.rows * self.recipe.shape.context
        wait = f", {tokens / speed:.0f} s to go" if speed else ""
        self.report(
            f"step {self.step} of {self.recipe.course.steps}, loss {loss:.4f}, "
            f"{speed:.0f} tokens/s, {self.pace.teraflops:.3g} TFLOP/s{wait}"
        )

    def _finish(self, trainer: Trainer) -> dict[str, Any]:
        finished = self.step == self.recipe.course.steps
        lines = self.curve.lines()
        held_out = [line["held_out"] for line in lines if "held_out" in line]
        outcome = {
            "finished": finished,
            "step": self.step,
            "steps": self.recipe.course.steps,
            "seconds": round(self.seconds, 1),
            "tokens_per_s": round(self.pace.tokens_per_s, 1),
            "teraflops": float(f"{self.pace.teraflops:.3g}"),
            "held_out": held_out[-1] if held_out else {},
        }
        with whole_file(self.job.out / "curve.svg") as partial:
            title = f"{self.recipe.name}, {self.step} of {self.recipe.course.steps} steps"
            partial.write_text(draw(lines, title), encoding="utf-8")
        write_json(self.job.out / FACTS, self._facts(outcome))
        if not finished:
            return outcome
        result = self.job.out / RESULT
        result.mkdir(exist_ok=True)
        write_shards(trainer.model.state_dict(), result)
        for name in (CURVE, "curve.svg", FACTS):
            with whole_file(result / name) as partial:
                shutil.copyfile(self.job.out / name, partial)
        return outcome | {"result": str(result)}

    def _facts(self, outcome: Mapping[str, Any]) -> dict[str, Any]:
        files, _ = self.corpus
        return {
            **outcome,
            "recipe": self.recipe.to_dict(),
            "identity": dict(self.identity(self.step)),
            "parameters": self.recipe.shape.parameters,
            "tokens": self.step * self.recipe.course.rows * self.recipe.shape.context,
            "flops_per_token": flops_per_token(self.recipe.shape),
            "device": _device_name(self.device),
            "torch": torch.__version__,
            "sources": _sources(files),
        }


def _sources(files: Sequence[TokenFile]) -> list[dict[str, Any]]:
    return [
        {
            "name": file.name,
            "group": file.group,
            "licence": file.licence,
            "documents": file.learned,
            "tokens": int(file.lengths[: file.learned].sum()),
            "attribution": file.attribution,
            "left_out": file.left_out,
        }
        for file in files
    ]


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"
