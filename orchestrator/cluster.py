"""The connection to Ray: a local cluster, or the one that this process was submitted to."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from orchestrator.access import own_umask
from orchestrator.provenance import code_hash
from orchestrator.resources import is_on_cluster
from orchestrator.resources import num_cpus as cores
from orchestrator.signals import inherited_hangups_ignored
from orchestrator.surroundings import ensure_short_temporary_folder, ensure_token, require_answer
from trainers.errors import UserError

RAY_ENVIRONMENT = {
    # Our own progress replaces Tune's tables; our own checkpoints replace its loggers and snapshots.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Its own lets a sweep that was interrupted look like one that is finished.
    # Relative paths mean the same in a trial as in the driver.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # A stopped trial may take long to clean up; at the default of 2 s the sweep would hang instead.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "600",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    # A busy machine takes longer than the default of 60 s, and the next attempt would begin from nothing.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


URL_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
"""The first part of a path that somebody meant as a URL."""


def is_submitted() -> bool:
    """Whether this process is the driver of a submitted Ray job."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def require_local(path: Path, option: str) -> None:
    """Refuse a URL, which would become a folder called ``s3:``.

    Raises:
        UserError: with the URL.
    """
    if path.parts and URL_SCHEME.fullmatch(path.parts[0]):
        url = f"{path.parts[0]}//{'/'.join(path.parts[1:])}"
        raise UserError(
            f"{option} {url} is a URL, and only files and folders are read and written; give a path on this machine, "
            "such as the folder where the bucket or share is mounted"
        )


def absolute(path: Path, option: str) -> Path:
    """``path`` from the root on; in a submitted job a relative one would mean a folder that is thrown away.

    Raises:
        UserError: it is relative there, or a URL.
    """
    require_local(path, option)
    if is_submitted() and not path.expanduser().is_absolute():
        raise UserError(
            f"{option} {path} is relative, and a submitted job's folder is thrown away; give an absolute path"
        )
    return path.expanduser().resolve()


def connect(num_cpus: int | None = None) -> None:
    """Join the cluster of ``RAY_ADDRESS``, or start one on this machine; does nothing when already connected.

    Raises:
        UserError: the cluster cannot be reached, asks for another token, or does not start in time.
    """
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if is_on_cluster():
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "error")  # Warnings of each attempt to reach it.
    import ray
    from ray.job_config import JobConfig

    if ray.is_initialized():
        return
    options: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": "error",
        "runtime_env": {"env_vars": RAY_ENVIRONMENT},
    }
    if not is_submitted():  # A job's folder is on the path of its driver and of its workers.
        job_config: Any = JobConfig()
        job_config._py_driver_sys_path = WorkerPath(our_folders())  # As an argument, an empty one would be dropped.
        options["job_config"] = job_config
    if not is_on_cluster():
        _start_locally(num_cpus or cores(), options)
        return
    require_answer(os.environ["RAY_ADDRESS"])
    try:
        ray.init(**options)
    except Exception as error:  # Whatever Ray raises here, no cluster has let us in.
        raise UserError(refused(error, os.environ["RAY_ADDRESS"])) from error


def _start_locally(num_cpus: int, options: dict[str, Any]) -> None:
    import ray

    ensure_short_temporary_folder()
    ensure_token()
    try:
        with inherited_hangups_ignored(), own_umask():
            # By name: a cluster that somebody else started on this machine is not ours to fill.
            ray.init(address="local", num_cpus=num_cpus, include_dashboard=False, **options)
    except Exception as error:  # Whatever Ray raises here comes from the machine: no code of ours has run in it.
        raise UserError(not_started(error)) from error
    require_same_code()


class WorkerPath(list[str]):
    """The folders from which workers import beside their own packages: what Ray would add to them stays out.

    It adds the working directory, ahead of everything. A module of the user's there that is called like one of ours,
    or another checkout of this project, would then be imported by the workers, and not by the driver.
    """

    def extend(self, folders: Iterable[str]) -> None:
        """Leave out what Ray adds."""


def our_folders() -> list[str]:
    """Where the driver imports our packages from, unless they are installed: then every worker finds them so."""
    root = Path(__file__).parents[1]
    return [] if root.name in ("site-packages", "dist-packages") else [str(root)]


def require_same_code() -> None:
    """Prove that a worker imports the code that this process runs.

    Raises:
        UserError: it does not, or it cannot import it.
    """
    import ray

    ask: Any = ray.remote(num_cpus=0, max_retries=0)(_code_here)
    try:
        workers_code = ray.get(ask.remote())
    except ray.exceptions.RayError as error:
        why = " ".join(str(error).split())[-300:]
        raise UserError(f"Ray's workers cannot import our code from {Path(__file__).parents[1]}: {why}") from error
    if workers_code != code_hash():
        raise UserError(
            f"Ray's workers import other code of ours than {Path(__file__).parents[1]}, which this process runs; look "
            "for another copy on PYTHONPATH"
        )


def not_started(error: BaseException) -> str:
    """One line on why Ray did not start on this machine, with the cure where the cause is known."""
    text = " ".join(str(error).split())
    cures = {
        "timed out": "a very busy machine is the commonest cause: give the same command again when it is less so",
        "shm": "its shared memory is too small: give the container more (docker run --shm-size=2g)",
        "port": "a port is taken: end what holds it, or another Ray of yours (`ray stop`)",
        "permission": "a file or folder is closed to you: give RAY_TMPDIR and HOME folders that you can write to",
    }
    cure = next((cure for sign, cure in cures.items() if sign in text.lower()), None)
    return f"Ray did not start on this machine ({type(error).__name__}: {text[:200]}); " + (
        cure or "its logs are below $RAY_TMPDIR/ray/session_latest/logs (/tmp without the variable)"
    )


def _code_here() -> str:
    """Answer in a worker: Ray takes no cached function."""
    return code_hash()


def refused(error: BaseException, address: str) -> str:
    """One line on why a cluster did not let us in."""
    text = " ".join(str(error).split())
    if "version mismatch" in text.lower():
        return f"the cluster at {address} runs another Ray or Python ({text[:200]}); install the same versions here"
    if "token" in text.lower() or "unauthenticated" in text.lower():
        return token_hint(address)
    return (
        f"no Ray cluster answers at {address} ({text[:200]}); if it runs, its token is another one: put its head's "
        "into ~/.ray/auth_token, or point RAY_AUTH_TOKEN_PATH at it, and set RAY_AUTH_MODE=token"
    )


def token_hint(address: str) -> str:
    """What to do about a missing or wrong token."""
    return (
        f"the cluster at {address} wants its own token: put the one of its head (`ray get-auth-token` there) into "
        "~/.ray/auth_token here, or point RAY_AUTH_TOKEN_PATH at it, and set RAY_AUTH_MODE=token"
    )
