"""Sites are called what TransformerLens calls them; what is not there is answered in one line."""

from __future__ import annotations

import pytest

from whence.errors import BadInput
from whence.models.sites import Site, parse_site

NAMES = {
    "embed": Site("embed"),
    "blocks.0.hook_resid_pre": Site("resid_pre", 0),
    "blocks.1.attn.hook_z": Site("z", 1),
    "blocks.2.attn.hook_pattern": Site("pattern", 2),
    "blocks.0.hook_attn_out": Site("attn_out", 0),
    "blocks.11.mlp.hook_post": Site("mlp_post", 11),
    "blocks.1.hook_mlp_out": Site("mlp_out", 1),
    "blocks.1.hook_resid_post": Site("resid_post", 1),
    "ln_final.hook_normalized": Site("ln_final"),
}


@pytest.mark.parametrize(("name", "site"), NAMES.items())
def test_names_are_read_and_written(name: str, site: Site):
    assert parse_site(name, 12) == site
    assert site.name == name
    assert parse_site(site, 12) is site


def test_the_embedding_has_a_second_name():
    assert parse_site("hook_embed", 3) == Site("embed")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("blocks.0.attn.hook_zz", "blocks.L.attn.hook_z"),
        ("blocks.0.hook_mlp_ou", "blocks.L.hook_mlp_out"),
        ("resid_post", "blocks.L.hook_resid_post"),
        ("blocks.-1.attn.hook_z", "blocks.L.attn.hook_z"),
        ("blocks.x.hook_resid_pre", "blocks.L."),
        ("", "blocks.L."),
    ],
)
def test_a_name_that_is_none_is_answered_with_the_nearest(name: str, nearest: str):
    with pytest.raises(BadInput, match="no site is called") as error:
        parse_site(name, 3)
    assert nearest in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("site", ["blocks.3.attn.hook_z", Site("z", 3), Site("resid_pre", -1)])
def test_a_layer_that_is_not_there_is_answered_with_those_that_are(site: str | Site):
    with pytest.raises(BadInput, match="the model has layers 0 to 2"):
        parse_site(site, 3)


def test_when_a_site_is_ready():
    assert Site("embed").ready_after(3) == -1
    assert Site("resid_pre", 0).ready_after(3) == -1
    assert Site("resid_pre", 2).ready_after(3) == 1
    assert {Site(kind, 2).ready_after(3) for kind in ("z", "pattern", "attn_out")} == {2}
    assert Site("resid_post", 0).ready_after(3) == 0
    assert Site("ln_final").ready_after(3) == 3
