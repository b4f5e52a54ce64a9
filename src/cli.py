"""The command `october`: lists the experiments, or runs one through Hydra.

Torch is not imported before an experiment needs it, so that listing and help are instant.
"""

import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import __version__, catalogue
from .errors import OctoberError

if TYPE_CHECKING:
    from omegaconf import DictConfig

HELP = """\
october {version}: the language-model papers of October 2023, reproduced

  october                                       list the experiments
  october experiment=NAME [KEY=VALUE ...]       run one
  october -m experiment=NAME seed=0,1 ...       sweep (Hydra multirun)
  october experiment=NAME --cfg job             print the composed config and stop
  october experiment=NAME resume=true           go on with the newest unfinished run of this config
  torchrun --nproc-per-node N -m october ...    one process per device
  october-report                                paper-versus-ours tables and page from the records

  KEY=VALUE changes an argument of the experiment (see --cfg job) or one of these:
    size=tiny|small|full       seed=N or seeds=[0,1,2]       tracker=wandb|local
  and chooses from a group:
{groups}

Hydra's own options (--info, --resolve, --config-dir ...): october --hydra-help
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; a mistake of the user ends it with one line and exit status 2."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if not arguments:
            print(catalogue.listing())
        elif arguments[0] in ("-h", "--help"):
            print(_help())
        elif arguments[0] == "--version":
            print(f"october {__version__}")
        else:
            _run_hydra(arguments)
    except OctoberError as error:
        _fail(error)


def _help() -> str:
    width = max(map(len, catalogue.groups())) + 2
    lines = [f"    {group:{width}}{', '.join(catalogue.choices(group))}" for group in catalogue.groups()]
    return HELP.format(version=__version__, groups="\n".join(lines))


def _run_hydra(arguments: list[str]) -> None:
    import hydra
    from hydra._internal.utils import get_args_parser

    from . import configuration

    options = get_args_parser().parse_args(arguments)
    if not (options.hydra_help or options.info or options.shell_completion):
        configuration.check_command_line(options.overrides, multirun=options.multirun)
    configuration.register_resolvers()
    sys.argv = ["october", *arguments, *_shared_folder()]
    hydra.main(version_base="1.3", config_path="pkg://october.conf", config_name="config")(_job)()


def _shared_folder() -> list[str]:
    """Under torchrun, let rank 0 choose the run's folder for every rank."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return []
    import torch.distributed as dist

    dist.init_process_group()
    stamp = [time.strftime("%Y-%m-%d_%H-%M-%S")]
    dist.broadcast_object_list(stamp)
    folder = f"hydra.run.dir=outputs/${{hydra:runtime.choices.experiment}}/{stamp[0]}"
    return [folder] if dist.get_rank() == 0 else [folder, "hydra.output_subdir=null"]


def _job(config: "DictConfig") -> None:
    """Run one composed config; Hydra calls this once, or once for each point of a sweep."""
    try:
        _run_experiment(config)
    except OctoberError as error:
        _fail(error)


def _run_experiment(config: "DictConfig") -> None:
    from pathlib import Path

    from hydra.core.hydra_config import HydraConfig
    from hydra.utils import instantiate

    from . import configuration
    from .finish import finish
    from .run import Run, folder_to_resume, is_main_process

    hydra_config = HydraConfig.get()
    values = configuration.resolved(config)
    function, arguments = configuration.bind(values)
    _use_hardware(values["hardware"])
    folder = folder_to_resume(values["resume"], Path(hydra_config.runtime.output_dir), values)
    name = hydra_config.runtime.choices["experiment"]
    with Run(folder, name, values, instantiate(values["tracker"])) as run:
        result = function(**arguments, run=run)
        if is_main_process():
            print(finish(run, result, arguments.get("seeds", ())))


def _use_hardware(hardware: dict[str, Any]) -> None:
    if hardware["threads"] is not None:
        import torch

        torch.set_num_threads(hardware["threads"])


def _fail(error: OctoberError) -> None:
    print(f"october: {error}", file=sys.stderr)
    sys.exit(2)
