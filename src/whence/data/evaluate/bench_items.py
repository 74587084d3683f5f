"""A model through benchmark tasks: the value of each metric on each document."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Any

from whence.data.evaluate.bench_tasks import BenchTask, harness_kept_quiet
from whence.errors import BadInput, WhenceError

if TYPE_CHECKING:
    import pandas as pd

    from whence.models.load import Loaded

SAMPLING_SEED = 1234
"""Of tasks that sample their answers: the harness's default for torch."""


def bench_items(
    loaded: Loaded,
    task: BenchTask,
    *,
    limit: int | None = None,
    batch_size: int = 8,
    apply_chat_template: bool = False,
    bars: bool = True,
) -> pd.DataFrame:
    """`task, doc_id, metric, value` of every document and metric of a task.

    limit: documents of each part, from its first; None takes all. batch_size: requests at once.
    bars: let the harness show how far it is. The model is the loaded one, adapter and all, and is
    given back as it was.

    Raises BadInput where a chat template is wanted and the tokenizer has none, WhenceError where a
    value is no number.
    """
    import pandas as pd
    import torch
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    model: Any = loaded.model
    tokenizer = loaded.tokenizer
    if apply_chat_template and not getattr(tokenizer, "chat_template", None):
        raise BadInput(
            f"--apply-chat-template: the tokenizer of {loaded.source} has no chat template"
        )
    training = model.training
    with harness_kept_quiet():
        # The harness draws few-shot examples and samples from the global generators.
        random.seed(0)
        torch.manual_seed(SAMPLING_SEED)
        harness: Any = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
        for request in ("loglikelihood", "loglikelihood_rolling", "generate_until"):
            setattr(harness, request, partial(getattr(harness, request), disable_tqdm=not bars))
        found = evaluate(
            lm=harness,
            task_dict={"tasks": dict(task.parts), "groups": {}},
            limit=limit,
            log_samples=True,
            bootstrap_iters=0,
            apply_chat_template=apply_chat_template,
        )
    model.train(training)
    lines = [
        {
            "task": task.name,
            "doc_id": str(sample["doc_id"])
            if len(task.parts) == 1
            else f"{part}/{sample['doc_id']}",
            "metric": metric,
            "value": _number(sample[key], task.name, metric, sample["doc_id"]),
        }
        for part in task.parts
        for sample in found["samples"][part]
        for metric, (key, wanted) in task.keys.items()
        if sample["filter"] == wanted
    ]
    return pd.DataFrame(lines)


def _number(value: Any, task: str, metric: str, doc_id: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if number != number:
        raise WhenceError(f"{task}, document {doc_id}: {metric} is {value!r}, not a number")
    return number
