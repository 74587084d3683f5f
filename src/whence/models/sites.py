"""Names of places in the forward pass: TransformerLens's, on plain Hugging Face modules.

No weight is folded or centred, so a value read at a site is the model's own, bit for bit. One
difference to know: `hook_attn_out` and `hook_mlp_out` are what a block *adds* to its residual
stream, after Gemma's and OLMo 2's post-norms, as in TransformerLens.

    embed                    [batch, pos, d_model]      token embedding, scaled where the model does
    blocks.L.hook_resid_pre  [batch, pos, d_model]      what enters block L
    blocks.L.attn.hook_z     [batch, pos, head, d_head] heads before the output projection
    blocks.L.attn.hook_pattern [batch, head, query, key] attention weights (read only, eager only)
    blocks.L.hook_attn_out   [batch, pos, d_model]
    blocks.L.mlp.hook_post   [batch, pos, d_mlp]        what enters the down projection
    blocks.L.hook_mlp_out    [batch, pos, d_model]
    blocks.L.hook_resid_post [batch, pos, d_model]      what leaves block L
    ln_final.hook_normalized [batch, pos, d_model]      output of the final norm
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Literal

from whence.errors import BadInput

Kind = Literal[
    "embed",
    "resid_pre",
    "z",
    "pattern",
    "attn_out",
    "mlp_post",
    "mlp_out",
    "resid_post",
    "ln_final",
]

_WITHIN_BLOCK: dict[str, Kind] = {
    "hook_resid_pre": "resid_pre",
    "attn.hook_z": "z",
    "attn.hook_pattern": "pattern",
    "hook_attn_out": "attn_out",
    "mlp.hook_post": "mlp_post",
    "hook_mlp_out": "mlp_out",
    "hook_resid_post": "resid_post",
}
_SUFFIX = {kind: suffix for suffix, kind in _WITHIN_BLOCK.items()}


@dataclass(frozen=True)
class Site:
    """One place. layer is None for `embed` and `ln_final.hook_normalized`."""

    kind: Kind
    layer: int | None = None

    @property
    def name(self) -> str:
        if self.kind == "embed":
            return "embed"
        if self.kind == "ln_final":
            return "ln_final.hook_normalized"
        return f"blocks.{self.layer}.{_SUFFIX[self.kind]}"

    def ready_after(self, n_layers: int) -> int:
        """The last block that must run before this site has its value.

        −1: none. n_layers: all, and the norm after them. `resid_pre` of L needs only block L−1.
        """
        if self.kind == "embed":
            return -1
        if self.layer is None:
            return n_layers
        return self.layer - 1 if self.kind == "resid_pre" else self.layer


def parse_site(name: str | Site, n_layers: int) -> Site:
    """Read a site's name. Raises BadInput for a name or a layer that this model does not have."""
    if isinstance(name, Site):
        site = name
    elif name in ("embed", "hook_embed"):
        site = Site("embed")
    elif name == "ln_final.hook_normalized":
        site = Site("ln_final")
    elif (match := re.fullmatch(r"blocks\.(\d+)\.(.+)", name)) and match[2] in _WITHIN_BLOCK:
        site = Site(_WITHIN_BLOCK[match[2]], int(match[1]))
    else:
        suffix = re.sub(r"^blocks\.\d+\.", "", name)
        near = difflib.get_close_matches(suffix, _WITHIN_BLOCK, n=1, cutoff=0)[0]
        raise BadInput(f'no site is called "{name}": did you mean blocks.L.{near}?')
    if site.layer is not None and not 0 <= site.layer < n_layers:
        raise BadInput(f"{site.name}: the model has layers 0 to {n_layers - 1}")
    return site
