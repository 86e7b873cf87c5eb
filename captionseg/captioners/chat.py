"""A chat model of transformers that sees pictures (LLaVA, Qwen-VL, SmolVLM, ...), from a folder on
disk.

USE used CogVLM, which is not part of transformers; any chat model with pictures can replace it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from captionseg.captioners.captioner import (
    CaptionError,
    Decoding,
    derive_seed,
    fill_prompt,
    hash_fields,
)
from captionseg.records import UserError, one_line
from captionseg.runtime.params import Precision
from captionseg.typed import Count, Device

if TYPE_CHECKING:
    from torch import Tensor

    from captionseg.runtime.device import Runtime


@dataclass(frozen=True)
class ChatParams:
    """Fields of `chat`.

    Attributes:
        folder: checkpoint with config.json, *.safetensors, tokenizer, image processor and chat
            template.
        device: auto, cpu, cuda or cuda:N.
        precision: precision of the weights: auto, fp32, bf16 or fp16.
        decoding: prompt and sampling parameters.
        batch: number of images per batch.
    """

    folder: str = ""
    device: Device = "auto"
    precision: Precision = "auto"
    decoding: Decoding = field(default_factory=Decoding)
    batch: Count = 8

    def build(self) -> ChatCaptioner:
        """Load the captioner to the device.

        Raises:
            UserError: if the folder has no such model, or needs custom code.
        """
        from captionseg.runtime.device import detect

        runtime = detect(self.device, self.precision)
        model, processor = load(Path(self.folder), runtime)
        content = hash_checkpoint(Path(self.folder))
        key = hash_fields(
            "chat", content=content, precision=self.precision, **asdict(self.decoding)
        )
        return ChatCaptioner(model, processor, self, runtime=runtime, key=key)


def load(folder: Path, runtime: Runtime) -> tuple[Any, Any]:
    """Load model and processor from a folder, without downloads, pickles or custom code.

    Raises:
        UserError: if the folder holds no chat model for pictures, or an incomplete one.
    """
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from transformers.utils import logging

    where = f"chat.folder: {str(folder)!r}"
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise UserError(
            f"{where}: no config.json with *.safetensors; give the folder of a downloaded "
            "checkpoint"
        )
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    known: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        processor = AutoProcessor.from_pretrained(str(folder), **known)
        reader: Any = AutoModelForImageTextToText
        model, report = reader.from_pretrained(
            str(folder),
            dtype=dtypes[runtime.precision],
            use_safetensors=True,
            output_loading_info=True,
            **known,
        )
    except Exception as error:  # foreign files can raise anything
        reason = one_line(next(iter(str(error).split("\n")), ""), 300) or type(error).__name__
        raise UserError(
            f"{where}: not a chat model that transformers can load: {reason}"
        ) from error
    finally:
        if shown:
            logging.enable_progress_bar()
    _check_loaded(model, processor, report, where)
    return model.to(runtime.device).eval().requires_grad_(False), processor


def _check_loaded(model: Any, processor: Any, report: Mapping[str, Any], where: str) -> None:
    """Refuse a checkpoint without some tensors (by transformers' report) or a chat template."""
    from captionseg.runtime.weights import check_finite

    if lost := sorted([*report["missing_keys"], *map(str, report.get("mismatched_keys") or ())]):
        raise UserError(
            f"{where}: {len(lost)} tensors are missing or have a wrong shape, such as {lost[0]}; "
            "use a complete checkpoint"
        )
    check_finite(model.state_dict(), where)
    if not getattr(processor, "tokenizer", None) or not getattr(processor, "chat_template", None):
        raise UserError(
            f"{where}: no chat template for pictures, so it is not a chat model; its "
            "chat_template.jinja must be next to config.json"
        )


def hash_checkpoint(folder: Path) -> str:
    """Hash all files of a checkpoint, including weights, with sha256."""
    digest = hashlib.sha256()
    read = {".json", ".jinja", ".safetensors", ".txt", ".model"}
    for file in sorted(f for f in folder.iterdir() if f.suffix in read):
        with file.open("rb") as stream:
            digest.update(
                f"{file.name} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode()
            )
    return digest.hexdigest()


class ChatCaptioner:
    """A captioner that prompts a chat model with pictures.

    Args:
        model: model of transformers, on the runtime's device.
        processor: its processor, with a chat template.
        params: prompt and sampling parameters.
        runtime: device and precision.
        key: see Captioner.
    """

    def __init__(
        self, model: Any, processor: Any, params: ChatParams, *, runtime: Runtime, key: str
    ) -> None:
        self.model, self.processor, self.params, self.runtime = model, processor, params, runtime
        self.key, self.batch = key, params.batch
        self.options = configure_generation(
            model, processor.tokenizer, params.decoding.max_new_tokens
        )

    def captions(
        self,
        images: Sequence[np.ndarray],
        originals: Sequence[str],
        *,
        uids: Sequence[str] = (),
        urls: Sequence[str] = (),
    ) -> list[str]:
        """See Captioner.

        Raises:
            CaptionError: if the model fails on the batch, for example out of memory.
        """
        import torch

        decoding = self.params.decoding
        questions = [fill_prompt(decoding.prompt, text) for text in originals]
        seeds = [
            derive_seed(decoding.seed, image, text)
            for image, text in zip(images, questions, strict=True)
        ]
        if not questions:
            return []
        try:
            inputs = self._inputs(images, questions)
            with torch.inference_mode():
                tokens = self.model.generate(
                    **inputs,
                    generation_config=self.options,
                    logits_processor=[TokenSampler(seeds, decoding)],
                )
            new = tokens[:, inputs["input_ids"].shape[1] :]
            return self.processor.tokenizer.batch_decode(new, skip_special_tokens=True)
        except (
            ValueError,
            RuntimeError,
            LookupError,
            TypeError,
        ) as error:  # of one picture; out of memory too
            raise CaptionError(one_line(f"{type(error).__name__}: {error}", 300)) from error

    def _inputs(self, images: Sequence[np.ndarray], questions: Sequence[str]) -> Any:
        """Prepare left-padded tokens, and pixels in the precision of the weights."""
        talks = [
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "image": Image.fromarray(image)},
                        {"type": "text", "text": text},
                    ],
                }
            ]
            for image, text in zip(images, questions, strict=True)
        ]
        inputs = self.processor.apply_chat_template(
            talks,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            sanitize_control_tokens=True,
            processor_kwargs={"padding": True, "padding_side": "left"},
        )
        return inputs.to(self.runtime.device, dtype=self.model.dtype)


def configure_generation(model: Any, tokenizer: Any, most: int) -> Any:
    """Configure generation; of the checkpoint's own configuration only the end tokens are kept."""
    from transformers import GenerationConfig

    own = model.generation_config
    ends = own.eos_token_id if own.eos_token_id is not None else tokenizer.eos_token_id
    first = ends[0] if isinstance(ends, list) else ends
    pad = next((p for p in (tokenizer.pad_token_id, own.pad_token_id, first) if p is not None), 0)
    model.generation_config = GenerationConfig(
        eos_token_id=ends, pad_token_id=pad, bos_token_id=own.bos_token_id
    )
    return GenerationConfig(
        eos_token_id=ends,
        pad_token_id=pad,
        bos_token_id=own.bos_token_id,
        do_sample=False,
        max_new_tokens=most,
    )


class TokenSampler:
    """A logits processor that samples: all tokens but the drawn one get -inf.

    transformers samples all rows from one generator, which would make a caption depend on the rest
    of its batch.

    Args:
        seeds: [B].
        decoding: temperature, top_p, top_k.
    """

    def __init__(self, seeds: Sequence[int], decoding: Decoding) -> None:
        self.rows = [np.random.default_rng(seed) for seed in seeds]
        self.decoding = decoding

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """[B, T] tokens so far and [B, V] logits -> [B, V]."""
        p, uniform = self.decoding, scores.new_tensor([row.random() for row in self.rows])
        chosen = sample_tokens(
            scores, uniform, temperature=p.temperature, top_p=p.top_p, top_k=p.top_k
        )
        return scores.new_full(scores.shape, -float("inf")).scatter(1, chosen[:, None], 0.0)


def sample_tokens(
    scores: Tensor, uniform: Tensor, *, temperature: float, top_p: float, top_k: int
) -> Tensor:
    """Sample tokens by inverse transform sampling: temperature, then top k, then top p.

    Args:
        scores: [B, V] logits.
        uniform: [B] in 0..1.
        temperature: 0 takes the likeliest.
        top_p: the fewest tokens whose probabilities reach it are left; the likeliest always is.
        top_k: 0 leaves all.

    Returns:
        [B] int64.
    """
    width = scores.shape[1]
    kept, token = scores.float().topk(1 if temperature <= 0 else min(top_k or width, width), dim=1)
    mass = (kept / (temperature or 1.0)).softmax(1)
    before = mass.cumsum(1) - mass
    mass = mass * (before < max(top_p, 1e-9))  # the first has nothing before it, and stays
    total = mass.cumsum(1)
    place = (total <= uniform.float()[:, None] * total[:, -1:]).sum(1).clamp(max=mass.shape[1] - 1)
    return token.gather(1, place[:, None])[:, 0]
