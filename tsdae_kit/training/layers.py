"""Learning rates that fall from an encoder's last layer to its token embeddings.

What the lower layers know of words serves every field; adapting to one needs the upper ones most (Howard and Ruder
2018, arXiv 1801.06146, section 3.2). Measured in results/diary.md.
"""

from __future__ import annotations

import re
from typing import Any

from sentence_transformers import SentenceTransformer
from torch import nn


def layer_rates(encoder: SentenceTransformer, rate: float, decay: float) -> dict[str, float]:
    """Return the learning rates of the layers below the last, and of what stands before the first, by pattern.

    A pattern is searched in the names of the loss's parameters, as the library's ``learning_rate_mapping`` has it. What
    stands behind the layers (a final norm, a projection) learns as the last one does. A transformer that keeps no stack
    of as many modules as it has layers (ALBERT's share their weights) gets no patterns: all of it learns alike.

    Args:
        encoder: The encoder, which the loss holds as ``encoder``.
        rate: Of the last layer.
        decay: A layer's rate as a share of the layer's above; 1: no patterns.
    """
    transformer: Any = encoder.transformers_model
    depth: int = getattr(transformer.config.get_text_config(), "num_hidden_layers", 0)
    stacks: list[str] = []
    for name, module in transformer.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth > 0 and not name.startswith(tuple(stacks)):
            stacks.append(f"{name}.")  # not what stands within another
    if decay == 1 or not stacks:
        return {}
    within = next(f"encoder.{name}." for name, module in encoder.named_modules() if module is transformer)
    layer = "|".join(map(re.escape, stacks))
    rates = {rf"^{re.escape(within)}({layer}){i}\.": rate * decay ** (depth - 1 - i) for i in range(depth - 1)}
    below = []
    for name, _ in transformer.named_parameters():
        if name.startswith(tuple(stacks)):
            break
        below.append(re.escape(name))
    if below:
        rates[rf"^{re.escape(within)}({'|'.join(below)})$"] = rate * decay**depth
    return rates
