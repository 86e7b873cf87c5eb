"""Workers that are processes of a Ray cluster, on this machine or several with a shared file
system.

Only this module imports ray (an extra). Nothing is uploaded: workers run in the same folder and
import captionseg from there, or from where it is installed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from captionseg.records import UserError, one_line
from captionseg.runtime.params import RuntimeParams
from captionseg.runtime.workers import ATTEMPTS, Answer, answer_job, limit_threads, make_death_error

LOOPBACK = "127.0.0.1"
_held: dict[str, Callable[[Any], Any]] = {}  # in a worker: function by name


class RayTasks:
    """Workers of a Ray cluster. See Workers. Jobs are tasks; Ray retries those whose worker dies.

    Args:
        work: the function of a job.
        runtime: `ray`, `workers` and `gpu_share`.
        gpu: whether a task uses a share of a GPU, if the cluster has any.
        threads: number of threads of each worker.
        called: describes a job, for messages.

    Raises:
        UserError: if ray is not installed, or there is no cluster at the address.
    """

    def __init__(
        self,
        work: Callable[[Any], Any],
        runtime: RuntimeParams,
        *,
        gpu: bool,
        threads: int,
        called: Callable[[Any], str],
    ) -> None:
        self.ray, self.own = connect(runtime)
        self.limit, self.called = runtime.workers, called
        name = uuid.uuid4().hex
        # in a list, so that Ray does not fetch it for each task
        self.shared = ([self.ray.put(work)], name, os.getcwd(), threads)
        share = runtime.gpu_share if gpu and self.ray.cluster_resources().get("GPU") else 0
        # max_calls, because by default Ray ends a worker with a GPU after each task
        options = {"num_cpus": 1, "num_gpus": share, "max_retries": ATTEMPTS - 1, "max_calls": 0}
        self.task = self.ray.remote(**options)(_run)
        self.out: dict[Any, tuple[int, Any]] = {}

    def room(self, busy: int) -> bool:
        """See Workers. Without a limit, enough tasks wait to keep all cores of the cluster busy."""
        return busy < (self.limit or 2 * max(4, int(self.ray.cluster_resources().get("CPU", 0))))

    def send(self, number: int, job: Any) -> None:
        """See Workers."""
        self.out[self.task.remote(self.shared, number, job)] = (number, job)

    def receive(self) -> Answer:
        """See Workers.

        Raises:
            UserError: if the worker of a job died in all attempts.
        """
        done, _ = self.ray.wait(list(self.out), num_returns=1)
        number, job = self.out.pop(done[0])
        try:
            return Answer(*self.ray.get(done[0]))
        except (
            self.ray.exceptions.RayTaskError
        ) as error:  # before or after the work: it cannot be imported or sent
            return Answer(number, False, RuntimeError(f"{self.called(job)}: {error}"))
        except self.ray.exceptions.RayError as error:
            raise make_death_error(self.called(job), f"{type(error).__name__} of ray") from None

    def close(self) -> None:
        """See Workers."""
        for reference in self.out:
            self.ray.cancel(reference)
        if self.own:
            self.ray.shutdown()


def connect(runtime: RuntimeParams) -> tuple[Any, bool]:
    """Connect to a cluster.

    Returns:
        the module ray, and whether the connection is ours to close.

    Raises:
        UserError: if ray is not installed, or the cluster cannot be used.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_task_oom_retries", str(ATTEMPTS - 1))  # by default unlimited
    # the future default; ray warns if it is not set
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise UserError(
            "runtime.fan_out: ray is not installed; run `pip install -e .[ray]`, or use processes"
        ) from None
    if ray.is_initialized():
        return ray, False
    try:
        if runtime.ray:
            ray.init(address=runtime.ray, logging_level=logging.WARNING)
        else:
            with loopback(ray):
                ray.init(
                    address="local",
                    num_cpus=runtime.workers or None,
                    include_dashboard=False,
                    _node_ip_address=LOOPBACK,
                    logging_level=logging.WARNING,
                )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(
            f"runtime.ray: no cluster at {runtime.ray or 'this machine'} ({one_line(error)}); "
            "start one with `ray start --head`, see docs/operations.md"
        ) from None
    if not runtime.ray and (address := ray.util.get_node_ip_address()) != LOOPBACK:
        ray.shutdown()
        raise UserError(
            f"runtime.fan_out: ray {ray.__version__} listens on {address}, which other machines "
            "can reach; use processes, or your own cluster with runtime.ray"
        )
    return ray, True


@contextlib.contextmanager
def loopback(ray: Any) -> Iterator[None]:
    """Let a cluster that is started within the block listen only on this machine.

    Otherwise Ray replaces 127.0.0.1 by the machine's own address, and its servers, which run any
    code that they receive, listen on all addresses. The environment variable has this effect
    despite its name. Ray reads it on import, which may be earlier, so its constant is set, too.
    """
    name, constants = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", ray._private.ray_constants
    before = os.environ.get(name), constants.ENABLE_RAY_CLUSTER
    # processes of the cluster inherit it
    os.environ[name], constants.ENABLE_RAY_CLUSTER = ("0", False)
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before[1]
        del os.environ[name]
        if before[0] is not None:
            os.environ[name] = before[0]


def _run(shared: tuple[list[Any], str, str, int], number: int, job: Any) -> tuple[int, bool, Any]:
    """Run a task in a worker: the job with a number."""
    references, name, folder, threads = shared
    if name not in _held:
        import ray

        try:
            os.chdir(folder)  # paths of stages are relative
        except OSError:
            lost = UserError(
                f"{folder}: does not exist on a machine of the Ray cluster "
                f"({os.uname().nodename}); all machines need the same files under the same paths"
            )
            return number, False, lost
        work: Any = ray.get(references[0])
        limit_threads(threads)
        _held.clear()
        _held[name] = work
    return tuple(answer_job(_held[name], number, job))  # type: ignore[return-value]
