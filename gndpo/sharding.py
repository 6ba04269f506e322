"""Lightning strategies for several ranks: each holds all weights, or a shard of the decoder's
layers (FSDP2) beside everything else. Gradients are summed by the step itself."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from gndpo.errors import UserError
from gndpo.gradients import full
from gndpo.models.parts import trained
from gndpo.policy import Policy
from gndpo.teachers import AdapterOff, Teachers


class Together(DDPStrategy):
    """Every rank holds all weights. Lightning's wrapper would average gradients at every backward;
    a step has one sum per update, over denominators that are global already."""

    def __init__(self, **given: Any) -> None:
        super().__init__(cluster_environment=TorchElasticEnvironment(), **given)

    def configure_ddp(self) -> None:
        """The module stays as it is."""


class Sharded(Together):
    """student, teacher: whose decoder layers are split over the ranks."""

    def __init__(self, *, student: bool, teacher: bool, **given: Any) -> None:
        super().__init__(**given)
        self.student, self.teacher = student, teacher

    def shard(self, student: Policy, teachers: Teachers) -> None:
        """Before there is an optimizer. A copy of the student is split as the student is."""
        if self.student:
            check_student(student)
            shard(student)
        if self.teacher and teachers.column is not None:
            raise UserError(
                f"trainer.strategy.teacher=true with teacher.column={teachers.column}: ranks would "
                "ask different teachers at a time; use trainer.strategy.teacher=false"
            )
        for policy in set(teachers.of.values()):
            split = self.student if policy is teachers.twin else self.teacher
            if split and not isinstance(policy, AdapterOff):
                shard(policy)


def check_student(student: Policy) -> None:
    layers = student.backbone.get_decoder().layers
    learning = trained(student.model)
    narrow = {str(p.dtype) for p in learning.values() if p.dtype.itemsize < 4}
    if narrow:
        raise UserError(
            f"trainer.strategy.student=true with weights in {', '.join(narrow)}: a shard is its "
            "own master and needs float32; use model.dtype=float32, or an adapter in float32"
        )
    if not any(p.requires_grad for p in layers.parameters()):
        raise UserError(
            "trainer.strategy.student=true splits the decoder's layers, and none of them learns; "
            "use trainer=ddp, or trainer.strategy.student=false"
        )


def shard(policy: Policy) -> None:
    """Split the decoder's layers over all ranks: each is whole only while it computes. Gradients
    are added up, not averaged. Embeddings, head and vision tower stay whole: they are read out of
    turn."""
    warnings.filterwarnings("ignore", "FSDP2-wrapped module")  # we write into no output of it
    backbone = policy.backbone
    device = "cuda" if torch.cuda.is_available() else "cpu"
    mesh = init_device_mesh(device, (distributed.get_world_size(),))
    for layer in backbone.get_decoder().layers:
        fully_shard(layer, mesh=mesh)
    others = {p for p in backbone.parameters() if not isinstance(p, DTensor)}
    fully_shard(backbone, mesh=mesh, ignored_params=others)
    for module in backbone.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def is_split(policy: Policy) -> bool:
    return isinstance(policy.backbone, FSDPModule)


def by_kind(parameters: Iterable[nn.Parameter]) -> list[Any]:
    """Parameter groups: an optimizer takes tensors and shards apart."""
    given = list(parameters)
    shards = [p for p in given if isinstance(p, DTensor)]
    rest = [p for p in given if not isinstance(p, DTensor)]
    return [{"params": some} for some in (rest, shards) if some] if shards else given


def whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Shards put together by all ranks."""
    return {name: full(x) for name, x in tensors.items()}


def split_as(x: Tensor, like: Tensor) -> Tensor:
    """A whole tensor in the shards of another one."""
    if not isinstance(like, DTensor):
        return x
    return distribute_tensor(x, like.device_mesh, like.placements)


@contextmanager
def gathered(policy: Policy) -> Iterator[None]:
    """Within, every rank has the whole model and may read it as often as it likes."""
    units = [module for module in policy.backbone.modules() if isinstance(module, FSDPModule)]
    if not units:
        yield
        return
    root, *layers = units
    for layer in layers:
        layer.unshard()
    root.set_reshard_after_forward(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.reshard()
        root.set_reshard_after_forward(True)
        root.reset_iter_state()  # else the next backward would fetch by what each rank read
