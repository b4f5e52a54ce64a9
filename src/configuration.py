"""From command line to a checked call: every mistake in a config is named in one line before any work starts.

Hydra by itself accepts a wrong type and prints a long trace for a wrong name. Here the overrides are checked against
the groups and keys that exist, and the composed config against the signature of the experiment's function.
"""

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import is_dataclass
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, PositiveInt, TypeAdapter, ValidationError

from . import catalogue
from .errors import OctoberError
from .reporting.records import Size
from .tracking import LocalTracker

HOUSE_KEYS = {"size", "seeds", "seed", "resume", "tracker", "hardware"}  # every run has them, used or not
GROUP_KEYS = {"model", "encoder", "data", "corpus"}  # null unless an experiment or the user chooses one
HYDRA_KEYS = {"_target_", "_args_", "_convert_", "_partial_", "_recursive_"}  # of a node, for Hydra alone
Config = dict[str, Any]


def register_resolvers() -> None:
    """Register `${by_size:TINY,SMALL,FULL}`: the value for the root's `size`."""

    def by_size(tiny: Any, small: Any, full: Any, *, _root_: DictConfig) -> Any:
        return {"tiny": tiny, "small": small, "full": full}[_root_.size]

    OmegaConf.register_new_resolver("by_size", by_size, replace=True)


def check_command_line(overrides: list[str], *, multirun: bool) -> None:
    """Check the overrides of a command line and, for a sweep, the first point of it.

    Raises:
        OctoberError: A wrong group choice, key, type or value, named in one line.
    """
    parsed = _parse(overrides)
    swept = [override for override in parsed if override.is_sweep_override()]
    if swept and not multirun:
        raise OctoberError(f"{swept[0].input_line}: several values are a sweep; add -m, or quote it as a list [a,b]")
    for override in parsed:
        _check_choice(override)
    first_point = [_first_value(override) for override in parsed]
    group_overrides = [line for override, line in zip(parsed, first_point, strict=True) if _group_of(override)]
    if not any(line.startswith("experiment=") for line in group_overrides):
        raise OctoberError("no experiment given: october experiment=NAME; `october` alone lists them")
    base = composed(group_overrides)
    for override in parsed:
        _check_key(override, base)
    first = resolved(composed(first_point))
    _check_seeds(parsed, first)
    bind(first)


def composed(overrides: list[str]) -> DictConfig:
    """Compose the root config with `overrides` as the command line would."""
    register_resolvers()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module(config_module="october.conf", version_base="1.3"):
            return compose("config", overrides=overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise OctoberError(_first_line(error)) from error


def resolved(config: DictConfig) -> Config:
    """Return the config as plain values: interpolations resolved, a single `seed` turned into `seeds`."""
    _check_value("size", config.size, Size)  # before `by_size` looks at it
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise OctoberError(f"{missing[0]}: a value is needed; give {missing[0]}=…")
    try:
        values: Config = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        raise OctoberError(_first_line(error)) from error
    values.pop("hydra", None)
    if values["seed"] is not None:
        values["seeds"] = [values["seed"]]
    del values["seed"]
    _check_house_values(values)
    return values


def bind(config: Config) -> tuple[Callable[..., Any], Config]:
    """Match a resolved config with the experiment's function.

    Returns:
        The function, and its arguments (all but `run`) with handles instantiated and checked.

    Raises:
        OctoberError: An argument is unknown, missing or of the wrong type, or a handle finds its piece missing.
    """
    if "_target_" not in config:
        raise OctoberError("no experiment given: october experiment=NAME; `october` alone lists them")
    function = get_object(config["_target_"])
    parameters = {name: p for name, p in inspect.signature(function).parameters.items() if name != "run"}
    arguments = {}
    for name, value in config.items():
        if name in parameters:
            arguments[name] = value
        elif name == "_target_" or name in HOUSE_KEYS or (name in GROUP_KEYS and value is None):
            continue
        else:
            hint = catalogue.did_you_mean(name, list(parameters))
            raise OctoberError(f"{name}: {function.__name__} takes no such argument{hint}")
    _check_call(function, arguments, prefix="")
    return function, {name: _ready(value) for name, value in arguments.items()}


def _ready(value: Any) -> Any:
    if not (isinstance(value, dict) and "_target_" in value):
        return value
    handle = _instantiated(value)
    if hasattr(handle, "check"):
        handle.check()
    return handle


def _instantiated(node: dict[str, Any]) -> Any:
    try:
        return instantiate(node)
    except InstantiationException as error:
        if isinstance(error.__cause__, OctoberError):  # a value that the class itself refuses
            raise error.__cause__ from None
        raise


def _check_call(function: Callable[..., Any], arguments: Mapping[str, Any], prefix: str) -> None:
    """Check values against a signature's annotations; nested `_target_` nodes against their own."""
    try:
        hints = typing.get_type_hints(function.__init__ if inspect.isclass(function) else function, include_extras=True)
    except NameError:  # an annotation that only type checkers can see
        hints = {}
    parameters = inspect.signature(function).parameters
    _check_others(function, {name: value for name, value in arguments.items() if name not in parameters}, prefix, hints)
    for name, parameter in parameters.items():
        if name == "run":
            continue
        if name not in arguments:
            if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD:
                raise OctoberError(f"{prefix}{name}: a value is needed")
        elif name in hints:
            _check_value(f"{prefix}{name}", arguments[name], hints[name])


def _check_others(function: Callable[..., Any], others: Mapping[str, Any], prefix: str, hints: Config) -> None:
    """Check arguments that have no parameter of their own; a function that takes any has one annotation for them."""
    parameters = inspect.signature(function).parameters
    any_name = [name for name, parameter in parameters.items() if parameter.kind is parameter.VAR_KEYWORD]
    for name, value in others.items():
        if name in HYDRA_KEYS:
            continue
        if not any_name:
            hint = catalogue.did_you_mean(name, list(parameters))
            raise OctoberError(f"{prefix}{name}: {function.__name__} takes no such argument{hint}")
        if any_name[0] in hints:
            _check_value(f"{prefix}{name}", value, hints[any_name[0]])


def _check_value(name: str, value: Any, annotation: Any) -> None:
    if isinstance(value, dict) and "_target_" in value:
        target = get_object(value["_target_"])
        wanted = _classes(annotation)
        if wanted and not issubclass(target, wanted):
            names = " or ".join(cls.__name__ for cls in wanted)
            raise OctoberError(f"{name}: {target.__name__} given where {names} is needed")
        _check_call(target, {key: item for key, item in value.items() if key != "_target_"}, prefix=f"{name}.")
        return
    if value is None and _classes(annotation) and not _optional(annotation):
        raise OctoberError(f"{name}: a value is needed; give {name}=NAME")
    try:
        TypeAdapter(annotation, config=_pydantic_config(annotation)).validate_python(value, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([name, *map(str, (part for part in first["loc"] if isinstance(part, int)))])
        given: Any = first["input"]
        raise OctoberError(f"{where}={given}: {first['msg'][0].lower()}{first['msg'][1:]}") from error


def _pydantic_config(annotation: Any) -> ConfigDict | None:
    return None if is_dataclass(annotation) else ConfigDict(arbitrary_types_allowed=True)


def _classes(annotation: Any) -> tuple[type, ...]:
    """Return the house's own classes (handles) that an annotation allows; empty for plain values."""
    options = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    return tuple(o for o in options if inspect.isclass(o) and o.__module__.startswith("october."))


def _optional(annotation: Any) -> bool:
    return _is_union(annotation) and type(None) in typing.get_args(annotation)


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _check_house_values(values: Config) -> None:
    _check_value("seeds", values["seeds"], list[int])
    _check_value("resume", values["resume"], bool | str)
    _check_value("tracker", values["tracker"], LocalTracker)
    _check_value("hardware.threads", values["hardware"]["threads"], PositiveInt | None)
    if not values["seeds"]:
        raise OctoberError("seeds=[]: give at least one seed")


def _check_seeds(overrides: list[Override], config: Config) -> None:
    """Refuse seeds that an experiment would not look at: a sweep over them would do the same work again and again."""
    given = next((override for override in overrides if override.key_or_group in ("seed", "seeds")), None)
    if given is None or "_target_" not in config or _takes_seeds(config["_target_"]):
        return
    own = ", ".join(f"{name}=N" for name in _seed_keys(config))
    hint = f"; it has {own}" if own else ""
    raise OctoberError(f"{given.input_line}: this experiment does not loop over seeds{hint}")


def _takes_seeds(target: str) -> bool:
    return "seeds" in inspect.signature(get_object(target)).parameters


def _seed_keys(config: Mapping[str, Any], prefix: str = "") -> list[str]:
    found = [f"{prefix}{name}" for name in config if name == "seed"]
    nested = [_seed_keys(value, f"{prefix}{name}.") for name, value in config.items() if isinstance(value, dict)]
    return found + [key for keys in nested for key in keys]


def _parse(overrides: list[str]) -> list[Override]:
    try:
        return OverridesParser.create().parse_overrides(overrides)
    except HydraException as error:
        raise OctoberError(_first_line(error)) from error


def _group_of(override: Override) -> str | None:
    """Return the config group that an override chooses from, or None for a plain key."""
    key = override.key_or_group
    return key if key in catalogue.groups() else None


def _check_choice(override: Override) -> None:
    group = _group_of(override)
    if group is None or override.is_delete():
        return
    known = catalogue.choices(group)
    for name in map(str, _values(override)):
        if name not in known and name != "None":
            raise OctoberError(f"{group}={name}: no such {group}{catalogue.did_you_mean(name, known)}")


def _values(override: Override) -> Iterable[Any]:
    return override.sweep_iterator() if override.is_sweep_override() else [override.value()]


def _first_value(override: Override) -> str:
    if not override.is_sweep_override():
        return str(override.input_line)
    return f"{override.get_key_element()}={next(iter(override.sweep_string_iterator()))}"


def _check_key(override: Override, base: DictConfig) -> None:
    """Check that the key of a plain override exists in the config that the chosen groups make."""
    if _group_of(override) or override.is_add() or override.is_force_add():
        return
    key = override.key_or_group
    if key.startswith(("hydra.", "hydra/")):  # its own keys and groups, say hydra/job_logging=disabled
        return
    node: Any = base
    for depth, part in enumerate(key.split(".")):
        if not isinstance(node, DictConfig) or part not in node.keys():  # noqa: SIM118 (`in` passes over ???)
            above = "".join(f"{name}." for name in key.split(".")[:depth])
            known = [above + str(name) for name in node if name != "_target_"] if isinstance(node, DictConfig) else []
            raise OctoberError(f"{key}: no such key{catalogue.did_you_mean(key, known)}")
        node = node._get_node(part)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
