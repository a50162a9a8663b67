"""Our checkpoints as a model of lm-evaluation-harness (lm_eval), which is imported only when `load` is called.

    lm_eval.simple_evaluate(model=lmeval.load("runs/gpt2"), tasks=["piqa"])

Prompts, completions and windows are handled as lm_eval's own `hf` model does, so that figures can be compared: nothing
stands before a context, but for an end-of-text before an empty one.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from curate.errors import CurateError, UsageError
from pretrain import machine
from pretrain.likelihood import Ids, Request, likelihoods, search
from pretrain.machine import DeviceName
from pretrain.sample import Sampler

# Tokens to generate where a task does not say; lm_eval's own default.
_TOKENS = 256


class _Instance(Protocol):
    """The part of lm_eval's requests that is read."""

    @property
    def args(self) -> tuple[Any, ...]: ...


class Answers:
    """The three methods that lm_eval asks of a model; they need no lm_eval."""

    def __init__(self, sampler: Sampler) -> None:
        super().__init__()
        self._sampler, self._window = sampler, sampler.model.config.context

    def loglikelihood(self, requests: Sequence[_Instance]) -> list[tuple[float, bool]]:
        """(log-likelihood of the continuation in nats, whether it is greedy's) of each (context, continuation)."""
        # Requests with one context read it once.
        groups: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            groups.setdefault(request.args[0], []).append(index)
        pairs = [[self._pair(*requests[i].args) for i in group] for group in groups.values()]
        out: list[tuple[float, bool]] = [(0.0, True)] * len(requests)
        for group, found in zip(groups.values(), likelihoods(self._sampler.model, pairs), strict=True):
            for index, one in zip(group, found, strict=True):
                out[index] = -one.nats, one.greedy
        return out

    def loglikelihood_rolling(self, requests: Sequence[_Instance]) -> list[float]:
        """Log-likelihood of each text in nats. Each id is predicted once; the last window is moved back, to be full."""
        texts = [self._ids(request.args[0]) for request in requests]
        found = likelihoods(self._sampler.model, [[pair] for ids in texts for pair in self._windows(ids)])
        values = iter(one.nats for (one,) in found)
        return [-sum(next(values) for _ in self._windows(ids)) for ids in texts]

    def generate_until(self, requests: Sequence[_Instance]) -> list[str]:
        """The greedy continuation of each (context, settings), up to one of `until` or an end-of-text.

        Raises:
            UsageError: if a task asks for sampling.
        """
        return [self._generate(*request.args) for request in requests]

    def _generate(self, context: str, settings: dict[str, Any]) -> str:
        if settings.get("do_sample") and settings.get("temperature", 1.0) > 0:
            raise UsageError("the task asks for sampling; ours generates greedily: set do_sample to false")
        until = settings.get("until") or []
        stops = [until] if isinstance(until, str) else list(until)
        tokens = min(int(settings.get("max_gen_toks", _TOKENS)), self._window - 1)
        end, decode = self._sampler.end_of_text, self._sampler.tokenizer.decode

        def ends(ids: list[int]) -> bool:
            return ids[-1] == end or any(stop in decode(ids, skip_special_tokens=False) for stop in stops)

        start = self._begin(context)[-(self._window - tokens) :].tolist()
        ids = search(self._sampler.model, start, ends, tokens=tokens, width=1, penalty=0.0)
        text: str = decode(ids[:-1] if ids[-1] == end else ids, skip_special_tokens=False)
        return text[: min((text.find(stop) for stop in stops if stop in text), default=len(text))]

    def _pair(self, context: str, continuation: str) -> Request:
        """The two tokenized together and parted where the context's own ids end; white space at its end goes over."""
        bare = context.rstrip()
        context, continuation = (bare, context[len(bare) :] + continuation) if bare else (context, continuation)
        before = self._begin(context)
        if not context:
            return before, self._ids(continuation)
        whole = self._ids(context + continuation)
        return whole[: len(before)], whole[len(before) :]

    def _windows(self, ids: Ids) -> list[Request]:
        row = np.concatenate([np.array([self._sampler.end_of_text], np.int32), ids])
        pairs = []
        for start in range(0, len(ids), self._window):
            stop = min(start + self._window, len(ids))
            pairs.append((row[max(0, stop - self._window) : start + 1], row[start + 1 : stop + 1]))
        return pairs

    def _begin(self, text: str) -> Ids:
        return self._ids(text) if text else np.array([self._sampler.end_of_text], np.int32)

    def _ids(self, text: str) -> Ids:
        return np.array(self._sampler.tokenizer.encode(text, add_special_tokens=False).ids, np.int32)


def load(folder: str, device: DeviceName = "auto") -> Any:
    """The newest checkpoint of a folder as an `lm_eval.api.model.LM`.

    Raises:
        CurateError: if lm_eval is not installed.
        InputError, ModelError: if the folder holds no checkpoint, or a damaged one.
    """
    try:
        api = importlib.import_module("lm_eval.api.model")
    except ImportError as error:
        raise CurateError("this needs lm_eval; install it with: pip install 'curate-pretrain[lm-eval]'") from error
    adapter = type("Checkpoint", (Answers, api.LM), {})
    return adapter(Sampler(Path(folder), machine.find_device(device)))
