"""The steps of one run, each done once: what is finished is not done again on resume."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from interns.adapter import Adapter
from interns.base_model import BaseModelRef
from interns.bases import base_named, torch_folder
from interns.charter import Charter
from interns.errors import GateNotMet, InternsError
from interns.gguf.adapter_file import write_adapter_gguf
from interns.intern import Blend, Profile
from interns.manifest import sha256_of
from interns.paths import Paths
from interns.runtime.llama_cpp.engine import LlamaEngine
from interns.skill import Skill
from training.artifacts import RunFolder, read_json
from training.dataset import Splits, load_splits
from training.encoding import Encoder
from training.estimate import estimate
from training.evaluate import Examiner
from training.evaluation import Exam, Verification
from training.export import export_adapter
from training.folder import VersionParts, write_version
from training.gather import answer_tokens, check_targets, gather
from training.recipe import Recipe, make_recipe
from training.report import exam_sentence, verification_sentence
from training.request import Request, parse_request


class Workshop:
    """One run with its request; every method is one step.

    Args:
        run: The run's folder.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run

    # What the run is about ---------------------------------------------------------------------

    @cached_property
    def request(self) -> Request:
        """The checked request."""
        return parse_request(self.run.request())

    @cached_property
    def base(self) -> BaseModelRef:
        """The base to train on, which is the base that serves."""
        return find_base(self.request)

    @cached_property
    def splits(self) -> Splits:
        """What `read_and_split` saved."""
        return load_splits(self.run.work / "data")

    @cached_property
    def profile(self) -> Profile:
        """The intern, not yet calibrated."""
        split = self._mark("split")
        schema = self.splits.schema
        return Profile(
            name=self.request.name,
            skill=Skill(split["skill"]),
            role=self.request.role_for(Skill(split["skill"])),
            labels=self.splits.labels,
            schema=schema,
            max_tokens=split["max_tokens"],
        )

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe of the skill with the request's overrides."""
        return make_recipe(Skill(self._mark("split")["skill"]), self.request.recipe)

    @property
    def charter(self) -> Charter:
        """The mission in force."""
        return Charter(self.request.mission)

    def engine(self) -> LlamaEngine:
        """The engine that will serve: it computes as the office's does."""
        return LlamaEngine(self.base, context_tokens=4096, **self.request.computing)

    # The steps ---------------------------------------------------------------------------------

    def read_and_split(self) -> None:
        """Read the data, clean them, split them and say what was found."""
        if self._skip("split"):
            return
        self.run.emit("ingest", "start", f"Reading {self.request.data.name}.")
        found = gather(self.request)
        check_targets(found.recipe, self.base)
        report = found.splits.report
        self.run.emit("ingest", "report", found.sentence, report)
        self.run.emit("ingest", "done", f"{report['usable']} usable rows of {report['rows']}.")
        self.run.emit("split", "start", "Splitting without leakage.")
        found.splits.save(self.run.work / "data")
        bound = answer_tokens(found.splits, found.skill, found.recipe, self.base)
        guess = estimate(found.splits, found.skill, found.recipe, self.base).to_dict()
        counts = found.splits.counts
        self._done(
            "split",
            f"{counts['train']} rows to learn from, {counts['validation']} to watch, "
            f"{counts['exam']} for the exam; about {guess['total_s']:.0f} s of work.",
            {
                "skill": found.skill,
                "max_tokens": bound,
                "splits": counts,
                "fingerprint": found.splits.fingerprint,
                "estimate": guess,
            },
        )

    def tune(self) -> None:
        """Train the adapter; the loss is told about once a second."""
        if self._skip("tune"):
            return
        from training.tune import Job, Progress, tune

        self.run.emit("tune", "start", f"Training on {self.base.name}: the loss should fall.")
        job = Job(
            base_folder=self._torch_folder(),
            splits=self.splits,
            profile=self.profile,
            mission=self.request.mission,
            recipe=self.recipe,
            out=self.run.work / "peft",
            checkpoint=self.run.work / "checkpoint.pt",
            curve=self.run.curve,
        )

        def report(now: Progress) -> None:
            text = (
                f"step {now.step_n} of {now.steps}, loss {now.loss:.4f}, "
                f"{now.tokens_per_s:.0f} tokens/s, {now.eta_s:.0f} s to go"
            )
            self.run.emit("tune", "progress", text, dataclasses.asdict(now))

        tuned = tune(job, report)
        self._done(
            "tune",
            f"{tuned.epochs} passes in {tuned.seconds:.0f} s at {tuned.tokens_per_s:.0f} "
            f"tokens/s; validation loss {tuned.eval_loss:.4f}"
            + f"; batches left out, whose gradient was no number: {tuned.skipped}"
            * bool(tuned.skipped)
            + ".",
            dataclasses.asdict(tuned),
        )
        job.checkpoint.unlink(missing_ok=True)

    def export(self) -> None:
        """Write the adapter as PEFT's folder and as GGUF."""
        if self._skip("export"):
            return
        self.run.emit("export", "start", "Writing the adapter for llama.cpp.")
        adapter = export_adapter(
            self.run.work / "peft",
            self.base,
            self.run.work / "export",
            metadata=self._origin(),
        )
        size = adapter.path.stat().st_size
        text = f"adapter.gguf, {size / 2**20:.1f} MiB, {adapter.sha256[:12]}."
        self._done("export", text, {"sha256": adapter.sha256, "bytes": size})

    def calibrate(self, engine: LlamaEngine) -> None:
        """Fit the temperature of label probabilities, or what quotes are chosen by."""
        if self._skip("calibrate"):
            return
        profile = self._examiner(engine, "exam").calibrate(self.profile, self.splits.validation)
        values = {
            "temperature": profile.temperature,
            "threshold": profile.threshold,
            "blend": dataclasses.asdict(profile.blend),
        }
        self.run.mark("calibrate", values)

    def verify(self, engine: LlamaEngine) -> None:
        """Compare llama.cpp with torch."""
        if self._skip("verify"):
            return
        from training.reference import TorchIntern
        from training.verify import Sides, verify

        self.run.emit("verify", "start", "Comparing llama.cpp with torch.")
        exam, profile = self.splits.exam, self._calibrated()
        folder, examiner = self._torch_folder(), self._examiner(engine, "verify")
        asked = examiner.stop_sample(profile, exam)
        found = verify(
            Sides(
                engine,
                self._adapter(),
                TorchIntern(folder, self.run.work / "export" / "peft"),
                Encoder(folder),
            ),
            profile,
            exam,
            charter=self.charter,
            recipe=self.recipe,
            stop_rate=examiner.stop_rate(profile, asked),
            stop_prompts=len(asked),
            report=lambda done, total: self.run.beat(
                "verify", f"{done} of {total} prompts compared", done / total
            ),
        )
        self._done("verify", f"{verification_sentence(found)}.", found.to_dict())

    def examine(self, engine: LlamaEngine) -> None:
        """Hold the exam against base+prompt."""
        if self._skip("exam"):
            return
        rows = len(self.splits.exam)
        self.run.emit("exam", "start", f"Examining on {rows} held-out rows.")
        exam = self._examiner(engine, "exam").examine(self._calibrated(), self.splits)
        self._done("exam", f"{exam_sentence(exam).capitalize()}.", exam.to_dict())

    def check_gates(self) -> None:
        """Refuse an intern that is no better than the base or differs from torch.

        Raises:
            GateNotMet: Says what was found and what to try.
        """
        exam, verification = self._mark("exam"), self._mark("verify")
        if not verification["passed"]:
            found = Verification(**verification)
            raise GateNotMet(
                f"The verification failed: {verification_sentence(found)}.",
                "Train longer, so that answers end by themselves."
                if found.agrees
                else "The export is wrong: please report it with the run's folder.",
            )
        if not exam["passed"]:
            exam.pop("n")
            raise GateNotMet(
                f"The exam was not passed: {exam_sentence(Exam(**exam))}"
                + (f"; the pass mark is {exam['pass_mark']:g}." if exam["pass_mark"] else "."),
                "Add or mend examples, train longer (presentations), or choose another skill.",
            )

    def seal(self) -> None:
        """Put the version folder together, under its name only when it is whole."""
        self.run.emit("seal", "start", "Sealing the version.")
        exam = dict(self._mark("exam"))
        exam.pop("n")
        self._record(exam)
        write_version(
            self.run,
            VersionParts(
                profile=self._calibrated(),
                base=self.base,
                splits=self.splits,
                recipe=self.recipe,
                tuning=self._mark("tune"),
                attribution=self.request.attribution,
                exam=Exam(**exam),
                verification=Verification(**self._mark("verify")),
            ),
        )
        self.run.finish(None, self.results())
        self.run.emit("seal", "done", "The version is ready to be registered.", self.results())

    def fail(self, error: InternsError) -> None:
        """Write down why the run ended; nothing half-made is left to register."""
        shutil.rmtree(self.run.partial, ignore_errors=True)
        self.run.finish(error, self.results())
        data = {"error": error.message, "fix": error.fix, "code": error.code}
        self.run.emit(self.run.current_step, "failed", f"{error.message} {error.fix}", data)

    def results(self) -> dict[str, Any]:
        """Exam and verification as far as they were held."""
        return {
            name: self.run.done(mark)
            for name, mark in (("exam", "exam"), ("verification", "verify"), ("tuning", "tune"))
        }

    # Inside ------------------------------------------------------------------------------------

    def _skip(self, step: str) -> bool:
        if self.run.done(step) is None:
            return False
        self.run.emit(step, "done", "Done before, kept.")
        return True

    def _done(self, step: str, text: str, result: Mapping[str, Any]) -> None:
        self.run.mark(step, result)
        self.run.emit(step, "done", text, result)

    def _mark(self, step: str) -> dict[str, Any]:
        return dict(read_json(self.run.mark_file(step)))

    def _origin(self) -> dict[str, str]:
        """Where the adapter comes from, as its file records it."""
        return {
            "intern.name": self.request.name,
            "intern.skill": self.profile.skill,
            "recipe.sha256": self.recipe.sha256,
            "dataset.fingerprint": self._mark("split")["fingerprint"],
        }

    def _record(self, exam: Mapping[str, Any]) -> None:
        """Write the adapter once more, the same weights, with what was measured of them."""
        verification = self._mark("verify")
        measured = {f"exam.{key}": exam[key] for key in ("metric", "score", "baseline", "examples")}
        measured |= {
            f"verification.{key}": verification[key]
            for key in (
                *("top1_everywhere", "top1_decided", "margin", "mean_kl", "stop_rate"),
                *("backend", "gpu_layers", "threads", "exact"),
            )
        }
        write_adapter_gguf(
            self.run.work / "peft",
            self.base,
            self.run.work / "export" / "adapter.gguf",
            metadata=self._origin() | {key: str(value) for key, value in measured.items()},
        )

    def _torch_folder(self) -> Path:
        return torch_folder(self.base, Paths(self.request.home))

    def _adapter(self) -> Adapter:
        path = self.run.work / "export" / "adapter.gguf"
        return Adapter(path, sha256_of(path), self.base.sha256)

    def _calibrated(self) -> Profile:
        values = dict(self._mark("calibrate"))
        return dataclasses.replace(self.profile, **values | {"blend": Blend(**values["blend"])})

    def _examiner(self, engine: LlamaEngine, step: str) -> Examiner:
        def report(what: str, done: int, total: int) -> None:
            self.run.beat(step, f"{what}: {done} of {total} rows", done / max(1, total))

        return Examiner(engine, self._adapter(), self.charter, self.recipe, report)


def find_base(request: Request) -> BaseModelRef:
    """The base a request names.

    Raises:
        NotFound: It is not here.
    """
    return base_named(request.base, Paths(request.home))
