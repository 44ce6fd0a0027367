"""A chat template for bases that were never trained to chat, and files it is written into."""

from __future__ import annotations

from pathlib import Path

from gguf import GGUFReader, GGUFWriter

from interns.gguf.metadata import copy_metadata
from interns.gguf.writing import whole_file

# Plain words, since such a base knows no markers of turns; its own bos and eos frame them.
OURS = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ {'system': 'System', 'user': 'User'}.get(message['role'], 'Assistant') }}: "
    "{{ message['content'] | trim }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}\n\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
_KEY = "tokenizer.chat_template"


def add_template(source: Path, out: Path, template: str) -> None:
    """Copy a base GGUF with a chat template added; everything else stays as it is.

    Args:
        source: A checked GGUF file.
        out: The file to write; whole or absent.
        template: Jinja source.

    Raises:
        NoSpace: The disk is full.
    """
    reader = GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    with whole_file(out) as partial:
        writer = GGUFWriter(str(partial), architecture)
        try:
            copy_metadata(reader, writer, lambda key: None if key == _KEY else key)
            writer.add_chat_template(template)
            for tensor in reader.tensors:
                writer.add_tensor_info(
                    tensor.name,
                    tensor.data.shape,
                    tensor.data.dtype,
                    tensor.data.nbytes,
                    tensor.tensor_type,
                )
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for tensor in reader.tensors:
                writer.write_tensor_data(tensor.data)
        finally:
            writer.close()
