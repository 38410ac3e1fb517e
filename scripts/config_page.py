"""Write `docs/config.md`: every key of a recipe, and the options of every component, from the code."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from rl4lms.config.reference import blocks, keys
from rl4lms.plugins import registry
from rl4lms.plugins.options import options_model

PAGE = Path(__file__).parents[1] / "docs" / "config.md"
HEAD = """# Every setting

A recipe is a YAML file of these blocks, and says only what differs from the defaults. On the command line a setting is
written with dots, `rl4lms train recipe.yaml rollout.top_p=0.9`; in Python as a block, `rl4lms.train(...,
rollout={"top_p": 0.9})`, or with dots. `rl4lms show rollout` and `rl4lms show rollout.top_p` print what stands here,
`rl4lms train RECIPE --dry-run` a recipe with every default.

A *component* is named, with its options beside the name: `reward: {name: rouge, key: rougeL}`; the name alone is short
for it. A single value stands for a list of one: `metrics: rouge`. Names of components are registered ones (`rl4lms
ls`), or `path/to/file.py:name`. `${NAME}` in a text is the environment variable of that name.

Written by `python scripts/config_page.py` from the code; change it there.
"""
# A small recipe for each block, as text: a test reads them.
EXAMPLES = {
    "": "name: first\nmodel: gpt2\ndata: prompts.jsonl\nreward: my_reward.py:about\nalgorithm: nlpo",
    "model": "model: {path: gpt2, value: shared, autocast: bfloat16}",
    "model.lora": "model: {path: gpt2, lora: {r: 16, alpha: 32, target_modules: [c_attn]}}",
    "data": "data: {train: train.jsonl, validation: dev.jsonl, references_column: answers}",
    "prompt": "prompt: {max_tokens: 512, truncation_side: right, prefix: 'summarize: '}",
    "supervised": "supervised: {epochs: 2, learning_rate: 5e-5}",
    "reward_faults": "reward_faults: {exception: mask, timeout: mask, timeout_s: 30}",
    "rollout": "rollout: {max_new_tokens: 64, temperature: 0.9, completions_per_prompt: 4}",
    "mask": "mask: {source: lagged, rule: top_p, top_p: 0.9, refresh_every: 10}",
    "kl": "kl: {kl_coef: 0.05, kl_target: 0.1}",
    "optimizer": "optimizer: {learning_rate: 1e-4, lr_scheduler_type: linear, max_grad_norm: 1}",
    "training": "training: {iterations: 100, prompts_per_iteration: 128, on_health: stop}",
    "evaluation": "evaluation: {every: 20, split: test, metrics: [rouge, {name: perplexity, model: gpt2}]}",
    "evaluation.generation": "evaluation: {generation: {temperature: 0, max_new_tokens: 64}}",
    "checkpoint": "checkpoint: {every: 20, best: eval/reward}",
    "tracking": "tracking: {report_to: [tensorboard], project: summaries}",
    "push_to_hub": "push_to_hub: {repo_id: me/my-model, private: true}",
}
KINDS = {
    "Algorithms": registry.algorithms,
    "Tasks": registry.tasks,
    "Rewards": registry.rewards,
    "Metrics": registry.metrics,
}


def table(model: type[BaseModel], first: str) -> str:
    """Return the keys of a block or the options of a component as a Markdown table."""
    cells = [
        [f"`{k.name}`", k.kind, f"`{k.default}`" if k.default != "(required)" else "required", k.about]
        for k in keys(model)
    ]
    rows = "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in cells)
    return f"| {first} | type | default | what |\n|---|---|---|---|\n{rows}"


def sentence(target: Any, summary: str) -> str:
    """Return what a component is, in one line."""
    return " ".join((inspect.getdoc(target) or summary).partition("\n\n")[0].split())


def render() -> str:
    """Return the page."""
    parts = [HEAD]
    for path, block in blocks():
        about = "\n".join(line.strip() for line in (inspect.getdoc(block) or "").splitlines())
        title = f"`{path}`" if path else "The recipe"
        parts.append(f"## {title}\n\n{about}\n\n```yaml\n{EXAMPLES[path]}\n```\n\n{table(block, 'key')}")
    for title, kind in KINDS.items():
        parts.append(f"## {title}\n")
        for name in kind.names():
            model = options_model(kind, name)
            options = f"\n{table(model, 'option')}" if model.model_fields else "\nNo options.\n"
            parts.append(f"### `{name}`\n\n{sentence(kind.get(name), kind.entry(name).summary)}\n{options}")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
