"""The trained adapter becomes the files that serve: PEFT's folder and one GGUF."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from interns.adapter import Adapter
from interns.base_model import BaseModelRef
from interns.gguf.adapter_file import write_adapter_gguf
from training.artifacts import require_space, saving

CONFIG = "adapter_config.json"
_SPARE_BYTES = 2**20


def export_adapter(
    peft_folder: Path, base: BaseModelRef, folder: Path, *, metadata: Mapping[str, str]
) -> Adapter:
    """Write ``peft/`` and ``adapter.gguf`` into `folder`, both or neither.

    Args:
        peft_folder: What tuning saved.
        base: The base it was trained on.
        folder: Where to; made when missing.
        metadata: Texts to record in the GGUF file.

    Raises:
        NoSpace: The disk is full; nothing half-made is left.
    """
    weights = peft_folder / "adapter_model.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    require_space(folder, 2 * weights.stat().st_size + _SPARE_BYTES, "the exported adapter")
    target, partial = folder / "peft", folder / "peft.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with saving(folder, "the exported adapter"):
            partial.mkdir()
            shutil.copyfile(weights, partial / weights.name)
            # PEFT notes the folder it trained from; elsewhere the base is known by its name.
            config = json.loads((peft_folder / CONFIG).read_text("utf-8"))
            config["base_model_name_or_path"] = base.name
            (partial / CONFIG).write_text(json.dumps(config, indent=2), encoding="utf-8")
            adapter = write_adapter_gguf(
                peft_folder, base, folder / "adapter.gguf", metadata=metadata
            )
            shutil.rmtree(target, ignore_errors=True)
            partial.replace(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return adapter
