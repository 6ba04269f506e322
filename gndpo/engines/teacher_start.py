"""From a run's configuration to its served teachers; values that do not fit are refused."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gndpo.build import build_settings
from gndpo.engines.teacher import ServedTeacher, Service
from gndpo.errors import UserError
from gndpo.policy import Policy
from gndpo.sources import ONLY
from gndpo.teachers import Teachers, check_teacher

WRITERS = ("gndpo.writers.teacher", "gndpo.writers.blend")
"""Who writes with the teacher."""
LEAST = {"inflight": 1, "likeliest": 1, "retries": 0}
"""What these whole numbers must not fall below; seconds must be larger than 0."""


def serve(cfg: DictConfig, student: Policy, load: Callable[[str], Policy]) -> Teachers:
    """teacher.weights: an address, or one per value of teacher.column. load: a checkpoint's
    policy, for teacher.service.compare."""
    section: Any = OmegaConf.to_container(cfg.teacher)
    weights, column = section["weights"], section["column"]
    check_teacher(weights, column, section["follow"], section["degrade"])
    named = {ONLY: weights} if isinstance(weights, str) else weights
    check_addresses(named.values(), served=True)
    service = build_settings(Service, "teacher.service", cfg.teacher.service)
    check_service(service)
    check_combination(cfg, service)
    reference = service.compare and functools.partial(load, service.compare)
    made = {
        url: ServedTeacher(url, service, student.vocabulary, reference or None)
        for url in named.values()
    }
    return Teachers(
        {},
        column=column,
        context=section["context"],
        degrade=section["degrade"],
        servers={str(value): made[url] for value, url in named.items()},
    )


def check_addresses(names: Iterable[Any], *, served: bool) -> None:
    """Served teachers have addresses, and no others."""
    for name in names:
        if str(name).startswith(("http://", "https://")) is not served:
            raise UserError(
                f"teacher.weights={name}: a server's address needs teacher=served, and "
                "teacher=served an address; type teacher=served teacher.weights=http://<host>:<port>"
            )


def check_service(service: Service) -> None:
    for key, least in LEAST.items():
        value = vars(service)[key]
        if not isinstance(value, int) or value < least:
            raise UserError(
                f"teacher.service.{key}={value} must be a whole number, {least} or larger"
            )
    for key in ("pause", "timeout"):
        value = vars(service)[key]
        if not isinstance(value, int | float) or not value > 0:
            raise UserError(f"teacher.service.{key}={value} must be a number larger than 0")


def check_combination(cfg: DictConfig, service: Service) -> None:
    """What a server cannot do, or would not notice."""
    if cfg.rollout.temperature != 1:
        raise UserError(
            f"rollout.temperature={cfg.rollout.temperature} with teacher=served: vLLM tells the "
            "log-probabilities of a prompt at temperature 1; use rollout.temperature=1, or "
            "teacher=pair"
        )
    writing = [name for name in WRITERS if name in str(cfg.rollout.writer)]
    if writing:
        raise UserError(
            f"{writing[0]} with teacher=served: a served teacher only scores; use rollout=local, "
            "or teacher=pair"
        )
    if cfg.model.teacher_quantization is not None and service.compare is None:
        raise UserError(
            f"model.teacher_quantization={cfg.model.teacher_quantization} with teacher=served: the "
            "teacher is loaded by its server; quantize there (vllm serve --quantization), and set "
            "model.teacher_quantization=null"
        )
