"""Our backbones inside timm: import this module, and ``timm.create_model`` knows them.

    import timm
    import ghostyolo.integrations.timm

    timm.list_models("ghostyolo_*")
    timm.create_model("ghostyolo_ghostnetv3_100", num_classes=10)
    timm.create_model("ghostyolo_ghostnetv3_100", features_only=True)

They answer to timm's whole interface. ``features_only`` hands out the last block of each of the strides 2, 4, 8, 16
and 32. There are no pretrained weights: ``pretrained=True`` is timm's own error. Parameters keep our names, so the
weights of a classifier trained with timm fit our detectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ghostyolo.errors import ConfigError
from ghostyolo.models.backbones.classifier_head import Classifier, stage_states
from ghostyolo.models.backbones.ghostnet import GhostNetClassifier
from ghostyolo.models.backbones.mobileformer import VARIANTS, MobileFormerClassifier
from ghostyolo.models.backbones.mobilenext import MobileNeXtClassifier
from ghostyolo.models.backbones.shufflenetv1 import ShuffleNetV1Classifier

STRIDES = (2, 4, 8, 16, 32)
GHOSTNETS = {"v1": ("none", None), "v2": ("dfc", None), "v3": ("dfc", 3), "v3_psa": ("psa", 3)}
GHOSTNET_WIDTHS = (50, 100, 130, 160)  # per cent, as timm writes widths
MOBILENEXT_WIDTHS = (35, 50, 75, 100, 140)
SHUFFLENETV1_WIDTHS = (50, 100, 150, 200)


class TimmInterface(Classifier):
    """What timm asks of a model, on top of any of our classifiers.

    Args:
        global_pool: ``"avg"``, or ``""`` for maps in place of logits.
        shape: what the classifier takes beside classes, channels and dropout.
    """

    usual_drop_rate = 0.2

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_rate: float | None = None,
        global_pool: str = "avg",
        **shape: Any,
    ) -> None:
        drop_rate = self.usual_drop_rate if drop_rate is None else drop_rate
        build: Any = super().__init__
        build(**shape, num_classes=num_classes, in_channels=in_chans, dropout=drop_rate)
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.grad_checkpointing = False
        self.feature_info = [
            {"num_chs": channels, "reduction": stride, "module": f"backbone.stages.{index}"}
            for index, (channels, stride) in enumerate(zip(self.backbone.stage_channels, STRIDES, strict=True))
        ]
        self._set_pool(global_pool)

    def _set_pool(self, global_pool: str) -> None:
        if global_pool not in ("avg", "") or (not global_pool and self.num_classes):
            raise ConfigError(f"global_pool '{global_pool}': choose 'avg', or '' together with num_classes=0")
        self.global_pool = global_pool

    def get_classifier(self) -> nn.Module:
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A fresh last layer for another number of classes; 0 for none."""
        like = next(self.parameters())
        self.num_classes = num_classes
        self.classifier = self._linear(num_classes).to(like.device, like.dtype)
        self._set_pool(self.global_pool if global_pool is None else global_pool)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only what passes between stages while training, and compute the rest again."""
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of parameter names by depth, for learning rates that decay with it."""
        return {
            "stem": r"^backbone\.stem",
            "blocks": r"^backbone\.stages\.(\d+)" if coarse else r"^backbone\.stages\.(\d+)\.(\d+)",
        }

    def no_weight_decay(self) -> set[str]:
        return {"backbone.stem.tokens"} & {name for name, _ in self.named_parameters()}

    def _states(self, image: Tensor) -> Iterator[Any]:
        if not (self.grad_checkpointing and self.training):
            yield from stage_states(self.backbone, image)
            return
        state = self.backbone.stem(image)
        for stage in self.backbone.stages:
            state = checkpoint(stage, state, use_reentrant=False)
            yield state

    def forward_features(self, image: Tensor) -> Tensor:
        *_, state = self._states(image)
        return self.finish(state)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        if not self.global_pool:
            return x
        x = self.dropout(self.pool(x))
        return x if pre_logits else self.classifier(x)

    def forward(self, image: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(image))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Return the last block of each stage asked for, as a list.

        Before it the final map, unless only those are wanted.

        Args:
            x: image (B, in_chans, H, W).
            indices: stages by index in ``feature_info``, the last so many, or all.
            norm: of no meaning here: there is no norm after the stages.
            stop_early: compute no stage beyond the last one asked for, where no final map is wanted either.
        """
        if output_fmt != "NCHW":
            raise ConfigError(f"output_fmt '{output_fmt}': maps are NCHW")
        taken = self._take(indices)
        maps = []
        for index, state in enumerate(self._states(x)):
            if index in taken:
                maps.append(state[0] if isinstance(state, tuple) else state)
            if index == max(taken) and stop_early and intermediates_only:
                break
        return maps if intermediates_only else (self.finish(state), maps)

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the head and the stages after the last one asked for.

        Returns the indices that are left.
        """
        taken = self._take(indices)
        if prune_head:
            for name, part in list(self.named_children()):
                if part is not self.backbone:
                    setattr(self, name, nn.Identity())
            self.num_classes = 0
        self.backbone.stages = self.backbone.stages[: max(taken) + 1]
        return taken

    def _take(self, indices: int | Sequence[int] | None) -> list[int]:
        count = len(self.backbone.stages)
        wanted = range(count) if indices is None else indices
        wanted = range(count - wanted, count) if isinstance(wanted, int) else wanted
        taken = [index + count if index < 0 else index for index in wanted]
        if not taken or min(taken) < 0 or max(taken) >= count:
            raise ConfigError(f"out_indices {indices}: there are {count} stages, so choose from 0 to {count - 1}")
        return taken


class TimmGhostNet(TimmInterface, GhostNetClassifier):
    """A GhostNet as timm's model."""


class TimmMobileNeXt(TimmInterface, MobileNeXtClassifier):
    """A MobileNeXt as timm's model."""


class TimmShuffleNetV1(TimmInterface, ShuffleNetV1Classifier):
    """A ShuffleNet as timm's model."""

    usual_drop_rate = 0.0


class TimmMobileFormer(TimmInterface, MobileFormerClassifier):
    """A Mobile-Former as timm's model."""

    usual_drop_rate = 0.0

    def __init__(self, *, size: str, **options: Any) -> None:
        super().__init__(variant=size, **options)  # timm's own builder has an argument "variant"


MODELS: dict[str, tuple[type[TimmInterface], dict[str, Any]]] = {
    **{
        f"ghostyolo_ghostnet{version}_{width:03}": (
            TimmGhostNet,
            {"width": width / 100, "attention": attention, "branches": branches},
        )
        for version, (attention, branches) in GHOSTNETS.items()
        for width in GHOSTNET_WIDTHS
    },
    **{f"ghostyolo_mobilenext_{width:03}": (TimmMobileNeXt, {"width": width / 100}) for width in MOBILENEXT_WIDTHS},
    **{
        f"ghostyolo_shufflenetv1_{width:03}": (TimmShuffleNetV1, {"width": width / 100})
        for width in SHUFFLENETV1_WIDTHS
    },
    **{f"ghostyolo_mobileformer_{size}": (TimmMobileFormer, {"size": size}) for size in VARIANTS},
}


def _default_cfg(model_class: type[TimmInterface]) -> dict[str, Any]:
    tokens = model_class is TimmMobileFormer
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": (7, 7),
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "backbone.stem.conv.conv" if tokens else "backbone.stem.conv",
        "classifier": "classifier",
        "license": "apache-2.0",
    }


# timm looks this name up when a model registers.
default_cfgs = generate_default_cfgs({name: _default_cfg(model_class) for name, (model_class, _) in MODELS.items()})


def _entrypoint(name: str) -> Callable[..., nn.Module]:
    model_class, arguments = MODELS[name]

    def create(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        return build_model_with_cfg(
            model_class,
            name,
            pretrained,
            feature_cfg={"out_indices": (0, 1, 2, 3, 4), "feature_cls": "getter"},
            **{**arguments, **kwargs},
        )

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f"``{model_class.__name__}`` with {arguments}."
    return create


for _name in MODELS:
    register_model(_entrypoint(_name))
