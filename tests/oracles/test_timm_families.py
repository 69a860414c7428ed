"""A small member of each family of timm's classifiers without batch norm, against torch.func."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

import pytest
import timm
import torch
from torch import nn

from pipeline.gradients import batch_norm_layers
from pipeline.gradients.engine import PerExampleBackward
from tests.oracles.loops import looped_gradients
from tests.oracles.slow_gradients import slow_gradients

LOSS = nn.CrossEntropyLoss(reduction="none")
DEPTHS = {"depths": (1, 1, 1, 1)}
NARROW = {"dims": (8, 8, 16, 16), **DEPTHS}


@dataclass(frozen=True)
class Family:
    """A member's name in timm, and what is made smaller in it: options, or fields of its configuration."""

    member: str
    options: Mapping[str, Any] = field(default_factory=dict)
    configuration: Mapping[str, Any] = field(default_factory=dict)
    size: int = 32  # of the images
    fallbacks: frozenset[str] = frozenset()  # operations without a rule, in some version of torch at least
    loop: bool = False  # the oracle is a loop: torch.func cannot run it


def transformer(member: str, *, fallbacks: frozenset[str] = frozenset(), **options: Any) -> Family:
    """Two blocks of 24 channels on 16 patches."""
    small = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
    return Family(member, {**small, **options}, fallbacks=fallbacks)


def pyramid(member: str, *, size: int = 32, **options: Any) -> Family:
    """Four stages of one block each."""
    return Family(member, {**DEPTHS, **options}, size=size)


WINDOWS = {
    "img_size": 32,
    "patch_size": 2,
    "window_size": 2,
    "embed_dim": 8,
    "depths": (2, 1),
    "num_heads": (1, 2),
}
MIXER = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "num_blocks": 2}
PIT = {
    "img_size": 32,
    "patch_size": 8,
    "stride": 4,
    "base_dims": (8, 8, 8),
    "depth": (1, 1, 1),
    "heads": (1, 2, 2),
}
TNT = {
    "img_size": 32,
    "embed_dim": 24,
    "inner_dim": 8,
    "depth": 2,
    "num_heads_outer": 2,
    "num_heads_inner": 2,
}
TWINS = {"img_size": 64, "embed_dims": (8, 8, 16, 16), "num_heads": (1, 1, 2, 2)}
RESNET = {"layers": (1, 1, 1, 1), "channels": (128, 128, 128, 128), "stem_chs": 32}

FAMILIES = {
    "beit": transformer("beit_base_patch16_224", init_values=0.1),
    "beit v2": transformer("beitv2_base_patch16_224"),
    "cait": transformer("cait_xxs24_224"),
    "caformer": pyramid("caformer_s18", dims=(32, 32, 32, 32)),
    "coat": Family(
        "coat_tiny",
        {"img_size": 32, "embed_dims": (16, 16, 16, 16), "serial_depths": (1, 1, 1, 1), "parallel_depth": 1},
    ),
    "coatnext": Family(
        "coatnext_nano_rw_224",
        {"img_size": 64},
        {"depths": (1, 1, 1, 1), "embed_dim": (32, 32, 32, 32), "stem_width": 32},
        size=64,
    ),
    "convformer": Family("convformer_s18", NARROW),
    "convit": transformer("convit_tiny", local_up_to_layer=1),
    "convnext": Family("convnext_tiny", NARROW),
    "convnext v2": Family("convnextv2_atto", NARROW),
    "crossvit": Family(
        "crossvit_tiny_240",
        {"img_size": 120, "embed_dim": (16, 24), "depth": ((1, 2, 0),), "num_heads": (2, 2)},
        size=120,
    ),
    "davit": pyramid("davit_tiny", embed_dims=(8, 8, 16, 16), num_heads=(2, 2, 2, 2), window_size=2),
    "deepseek": transformer("deepseek_vit_412m"),
    "deit": transformer("deit_tiny_distilled_patch16_224"),
    "deit 3": transformer("deit3_small_patch16_224"),
    "edgenext": Family("edgenext_xx_small", {**NARROW, "heads": (2, 2, 2, 2), "dims": (8, 16, 16, 16)}),
    "eva": transformer("eva_giant_patch14_224", mlp_ratio=2),
    "eva 02": transformer("eva02_tiny_patch14_224"),
    "flexivit": transformer("flexivit_small"),
    "focalnet": pyramid("focalnet_tiny_srf", embed_dim=8),
    "focalnet, post norm": pyramid("focalnet_huge_fl4", embed_dim=8),
    "gcvit": pyramid("gcvit_xxtiny", size=64, img_size=64, embed_dim=8, num_heads=(1, 1, 2, 2)),
    "gmixer": Family("gmixer_12_224", MIXER),
    "gmlp": Family("gmlp_ti16_224", MIXER),
    "hiera": Family(
        "hiera_tiny_224", {"img_size": 64, "embed_dim": 8, "stages": (1, 1, 1, 1), "num_heads": 1}, size=64
    ),
    "mambaout": Family("mambaout_femto", NARROW),
    "mixer": Family("mixer_s32_224", MIXER),
    "mvit v2": Family("mvitv2_tiny", {"img_size": 64}, {"depths": (1, 1, 1, 1), "embed_dim": 8}, size=64),
    "naflexvit": Family(
        "naflexvit_base_patch16_gap",
        {"embed_dim": 24, "depth": 2, "num_heads": 2},
        size=48,
        fallbacks=frozenset({"torch::autograd::CopySlices"}),
    ),
    "nest": Family(
        "nest_tiny",
        {
            "img_size": 32,
            "patch_size": 2,
            "embed_dims": (8, 8, 16),
            "num_heads": (2, 2, 2),
            "depths": (1, 1, 1),
        },
    ),
    "nfnet": Family("test_nfnet"),
    "nf regnet": Family(
        "nf_regnet_b0", {}, {"depths": (1, 1, 1, 1), "channels": (16, 16, 16, 16), "num_features": 16}
    ),
    "nf resnet": Family("nf_resnet26", {}, {"depths": (1, 1, 1, 1), "channels": (32, 32, 32, 32)}),
    "perception encoder": transformer("vit_pe_core_tiny_patch16_384"),
    "pit": Family("pit_ti_distilled_224", PIT),
    "poolformer": Family("poolformer_s12", NARROW),
    "poolformer v2": Family("poolformerv2_s12", NARROW),
    "pvt v2": pyramid("pvt_v2_b0", size=64, embed_dims=(8, 8, 16, 16), num_heads=(1, 1, 2, 2)),
    "pvt v2 linear": pyramid("pvt_v2_b2_li", size=64, embed_dims=(8, 8, 16, 16), num_heads=(1, 1, 2, 2)),
    "qwen 3": transformer("qwen3_vit_88m"),
    "rdnet": Family(
        "rdnet_tiny",
        {
            "num_init_features": 8,
            "growth_rates": (8, 8),
            "num_blocks_list": (1, 1),
            "is_downsample_block": (None, True),
            "transition_compression_ratio": 0.5,
            "block_type": ["Block", "BlockESE"],
        },
    ),
    "resmlp": Family("resmlp_12_224", MIXER),
    "resnet with group norm": Family(
        "resnet50_gn", {"layers": (1, 1, 1, 1), "channels": (32, 32, 32, 32)}, size=64
    ),
    "resnet v2, bit": Family("resnetv2_50x1_bit", RESNET, size=64),
    "sequencer": Family(
        "sequencer2d_s",
        {
            "img_size": 32,
            "layers": (1, 1, 1, 1),
            "patch_sizes": (8, 1, 1, 1),
            "embed_dims": (8, 16, 16, 16),
            "hidden_sizes": (4, 8, 8, 8),
        },
        loop=True,
    ),
    "siglip": transformer("vit_base_patch16_siglip_224"),
    "swin": Family("swin_tiny_patch4_window7_224", WINDOWS),
    "swin v2": Family("swinv2_tiny_window8_256", WINDOWS),
    "swin v2 cr": Family("swinv2_cr_tiny_224", WINDOWS),
    "tnt": Family("tnt_s_patch16_224", TNT),
    "tnt, legacy": Family("tnt_s_legacy_patch16_224", TNT),
    "twins svt": Family("twins_svt_small", {**TWINS, "depths": (2, 2, 2, 2), "wss": (2, 2, 2, 2)}, size=64),
    "twins pcpvt": Family("twins_pcpvt_small", {**TWINS, **DEPTHS}, size=64),
    "vit": transformer("vit_tiny_patch16_224"),
    "vit, dino v2": transformer("vit_small_patch14_dinov2"),
    "vit, dino v3": transformer("vit_small_patch16_dinov3"),
    "vit, parallel": transformer("vit_small_patch16_18x2_224"),
    "vit, relative positions": transformer("vit_relpos_small_patch16_224"),
    "vit, shared relative positions": transformer("vit_srelpos_small_patch16_224"),
    "vit, sam": transformer("samvit_base_patch16", window_size=2, global_attn_indexes=(1,), neck_chans=8),
    "vit hybrid": Family(
        "vit_tiny_r_s16_p8_224", {"img_size": 32, "embed_dim": 24, "depth": 1, "num_heads": 2}
    ),
}


def small(family: Family) -> nn.Module:
    """The member as timm builds it, but for what is made smaller; random draws off."""
    module = sys.modules[timm.model_entrypoint(family.member).__module__]
    build = module.build_model_with_cfg

    def build_smaller(*args: Any, **options: Any) -> nn.Module:
        if family.configuration:
            options["model_cfg"] = replace(options["model_cfg"], **family.configuration)
        return build(*args, **{**options, **family.options})

    with mock.patch.object(module, "build_model_with_cfg", build_smaller):
        model = timm.create_model(family.member, num_classes=5)
    for part in model.modules():
        for rate in ("p", "drop_prob"):
            if isinstance(getattr(part, rate, None), float):
                setattr(part, rate, 0.0)
    with torch.no_grad():  # biases, scales and gates that start at zero would hide much
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.double()


def test_there_are_at_least_forty_families():
    assert len(FAMILIES) >= 40
    assert len({family.member for family in FAMILIES.values()}) == len(FAMILIES)


@pytest.fixture(autouse=True)
def _one_thread():
    """Threads for matrices this small only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_parameter_of_a_family_has_the_gradients_of_single_examples(name):
    torch.manual_seed(0)
    family = FAMILIES[name]
    model = small(family)
    assert batch_norm_layers(model) == []
    inputs, targets = (
        torch.randn(3, 3, family.size, family.size, dtype=torch.float64),
        torch.tensor([0, 3, 4]),
    )
    engine = PerExampleBackward(model, LOSS)
    found = {}
    engine(inputs, targets, lambda name, factor: found.update({name: factor.written_out()}))
    wanted = (looped_gradients if family.loop else slow_gradients)(model, inputs, targets, LOSS)
    assert set(found) == set(wanted)
    whole = torch.stack([rows.norm() for rows in wanted.values()]).norm()
    for parameter, rows in wanted.items():
        # The second term is for gradients that are zero but for rounding, as of the bias of attention's keys.
        assert (found[parameter] - rows).norm() <= 1e-10 * rows.norm() + 1e-14 * whole, parameter
    assert set(engine.fallbacks.values()) <= family.fallbacks
