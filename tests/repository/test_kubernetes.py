"""launch/kubernetes.yaml follows the operator's schema, and its pods' commands train a run that can be resumed."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from kubeflow.training import ApiClient

from tests.cluster.slurm import free_ports, wait_until
from tests.faults.tiny import flags
from tests.processes import HANG_SECONDS, PYTHON, REPOSITORY
from tests.repository.test_documentation import make_photos
from wgan_dist.config.command_line import EXIT_STOPPED
from wgan_dist.data.datasets import ImageDataset

Manifest = dict[str, Any]
CLAIM, JOB = yaml.safe_load_all((REPOSITORY / "launch/kubernetes.yaml").read_text(encoding="utf-8"))
REPLICAS = JOB["spec"]["pytorchReplicaSpecs"]
MODELS = {"PersistentVolumeClaim": "V1PersistentVolumeClaim", "PyTorchJob": "KubeflowOrgV1PyTorchJob"}


def as_the_api_reads_it(manifest: Manifest) -> object:
    """Read a manifest by the model that the operator's authors publish, and write it again without unknown keys.

    Raises ValueError where something is missing, or is not of the type.
    """
    client = ApiClient()
    answer = SimpleNamespace(data=json.dumps(manifest))
    return client.sanitize_for_serialization(client.deserialize(answer, MODELS[manifest["kind"]]))


@pytest.mark.parametrize("manifest", [CLAIM, JOB], ids=["claim", "job"])
def test_the_manifest_has_the_schema(manifest: Manifest) -> None:
    assert as_the_api_reads_it(manifest) == manifest


def damaged(damage: Callable[[Manifest, Manifest], None]) -> Manifest:
    """Return a copy of the job after `damage(job, pod)`, where pod is its Worker."""
    job: Manifest = json.loads(json.dumps(JOB))  # the two pods are one object in JOB
    damage(job, job["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"])
    return job


@pytest.mark.parametrize(
    "damage",
    [
        lambda job, pod: job["spec"].update(pytorchReplicas=1),
        lambda job, pod: job["spec"].update(nprocPerNode=1),
        lambda job, pod: job["spec"]["runPolicy"].update(backoff=1),
        lambda job, pod: pod.update(gracePeriod=1),
        lambda job, pod: pod["containers"][0].update(args="--resume=auto"),
        lambda job, pod: pod["containers"][0]["env"][0].update(value=0),
    ],
)
def test_the_schema_finds_what_it_does_not_know(damage: Callable[[Manifest, Manifest], None]) -> None:
    job = damaged(damage)
    assert as_the_api_reads_it(job) != job


@pytest.mark.parametrize(
    "damage",
    [
        lambda job, pod: job["spec"].pop("pytorchReplicaSpecs"),
        lambda job, pod: pod.pop("containers"),
        lambda job, pod: pod["containers"][0].pop("name"),
        lambda job, pod: pod["containers"][0]["volumeMounts"][0].pop("mountPath"),
    ],
)
def test_the_schema_finds_what_is_missing(damage: Callable[[Manifest, Manifest], None]) -> None:
    with pytest.raises(ValueError, match="must not be `None`"):
        as_the_api_reads_it(damaged(damage))


def test_the_parts_fit_together() -> None:
    assert JOB["apiVersion"] == "kubeflow.org/v1"
    assert REPLICAS.keys() == {"Master", "Worker"}
    assert REPLICAS["Master"]["replicas"] == 1
    for replica in REPLICAS.values():
        assert replica["restartPolicy"] == "OnFailure"
        pod = replica["template"]["spec"]
        assert pod["terminationGracePeriodSeconds"] >= 60
        assert [container["name"] for container in pod["containers"]] == ["pytorch"]  # the operator looks for it
        assert "--resume=auto" in pod["containers"][0]["args"]
        (volume,), (mount,) = pod["volumes"], pod["containers"][0]["volumeMounts"]
        assert volume["name"] == mount["name"]
        assert volume["persistentVolumeClaim"]["claimName"] == CLAIM["metadata"]["name"]
        paths = re.findall(r"=(/\S*)", " ".join(pod["containers"][0]["args"]))
        assert len(paths) == 3
        assert all(path.startswith(f"{mount['mountPath']}/") for path in paths)


def start_pods(folder: Path, settings: dict[str, str]) -> list["subprocess.Popen[str]"]:
    """Start the containers' commands with the environment that the operator sets; `folder` is the volume."""
    world = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_ports(1)[0]), "WORLD_SIZE": "2"}
    processes = []
    for rank, replica in enumerate(("Master", "Worker")):
        container = REPLICAS[replica]["template"]["spec"]["containers"][0]
        mount = container["volumeMounts"][0]["mountPath"]
        variables = {variable["name"]: variable["value"] for variable in container["env"]}
        assert container["command"][0] == "python"
        arguments = [word.replace(f"{mount}/", f"{folder}/") for word in container["args"]] + flags(settings)
        processes.append(
            subprocess.Popen(
                [*PYTHON, *container["command"][1:], *arguments],
                env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | world | variables | {"RANK": str(rank)},
                stdout=(folder / f"{rank}.log").open("w"),
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    return processes


@pytest.mark.cluster
def test_an_evicted_pod_stops_all_and_all_go_on(tmp_path: Path, digits: ImageDataset, tiny: dict[str, str]) -> None:
    (tmp_path / "data").mkdir()
    make_photos(tmp_path / "data/my_photos", digits, 0)
    settings = {name: value for name, value in tiny.items() if name != "cache_dir"} | {"max_steps": "1000000"}
    pods, log = start_pods(tmp_path, settings), tmp_path / "0.log"
    wait_until(lambda: "first step" in log.read_text(), "training")
    pods[1].send_signal(signal.SIGTERM)
    assert [pod.wait(HANG_SECONDS) for pod in pods] == [EXIT_STOPPED, EXIT_STOPPED]
    assert "2 processes on cpu" in log.read_text()
    stopped = re.search(r"stopped by SIGTERM after step (\d+)", log.read_text())
    assert stopped
    pods = start_pods(tmp_path, settings | {"max_steps": str(int(stopped[1]) + 2)})
    assert [pod.wait(HANG_SECONDS) for pod in pods] == [0, 0]
    assert "new weights" not in log.read_text()
    assert (tmp_path / "runs/cats/generator.safetensors").exists()
