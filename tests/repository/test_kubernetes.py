"""launch/kubernetes.yaml and launch/trainjob.yaml follow the schemas of Kubeflow, and their pods train and resume."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from kubeflow.training import ApiClient

from tests.cluster.slurm import free_ports, wait_until
from tests.faults.tiny import flags
from tests.processes import HANG_SECONDS, REPOSITORY
from tests.repository.test_documentation import make_photos
from wgan_dist.data.datasets import ImageDataset

Manifest = dict[str, Any]


def manifests(name: str) -> tuple[Manifest, Manifest]:
    """Return the volume claim and the job of a file."""
    claim, job = yaml.safe_load_all((REPOSITORY / "launch" / name).read_text(encoding="utf-8"))
    return claim, job


CLAIM, JOB = manifests("kubernetes.yaml")
REPLICAS = JOB["spec"]["pytorchReplicaSpecs"]
MODELS = {"PersistentVolumeClaim": "V1PersistentVolumeClaim", "PyTorchJob": "KubeflowOrgV1PyTorchJob"}
TRAINJOB_CLAIM, TRAINJOB = manifests("trainjob.yaml")
TRAINER = TRAINJOB["spec"]["trainer"]
GPU = "nvidia.com/gpu"


def as_the_api_reads_it(manifest: Manifest) -> object:
    """Read a manifest by the model that the operator's authors publish, and write it again without unknown keys.

    Raises ValueError where something is missing, or is not of the type.
    """
    client = ApiClient()
    answer = SimpleNamespace(data=json.dumps(manifest))
    return client.sanitize_for_serialization(client.deserialize(answer, MODELS[manifest["kind"]]))


@pytest.mark.parametrize("manifest", [CLAIM, JOB], ids=["claim", "job"])
def test_the_pytorchjob_has_the_schema(manifest: Manifest) -> None:
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
        lambda job, pod: pod["containers"][0].update(args="--image_size=64"),
        lambda job, pod: pod["volumes"][1]["emptyDir"].update(size="16Gi"),
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


def check_container(container: Manifest, volumes: list[Manifest]) -> None:
    """Assert that a container mounts the claim, for all folders of the settings, and memory of its own as /dev/shm."""
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    sources = {volume.pop("name"): volume for volume in json.loads(json.dumps(volumes))}
    assert mounts.keys() == sources.keys()
    (work,) = (name for name, source in sources.items() if "persistentVolumeClaim" in source)
    assert sources[work]["persistentVolumeClaim"]["claimName"] == CLAIM["metadata"]["name"]
    paths = re.findall(r"=(/\S*)", " ".join(container["args"]))
    assert len(paths) == 3
    assert all(path.startswith(f"{mounts[work]}/") for path in paths)
    (memory,) = (name for name, mount in mounts.items() if mount == "/dev/shm")
    assert sources[memory]["emptyDir"]["medium"] == "Memory"
    # Kubernetes' default of 64 MiB is less than two communicators of NCCL take.
    size = re.fullmatch(r"(\d+)Gi", sources[memory]["emptyDir"]["sizeLimit"])
    assert size
    assert int(size[1]) >= 1


def test_the_parts_of_the_pytorchjob_fit_together() -> None:
    assert JOB["apiVersion"] == "kubeflow.org/v1"
    assert REPLICAS.keys() == {"Master", "Worker"}
    assert REPLICAS["Master"]["replicas"] == 1
    for replica in REPLICAS.values():
        assert replica["restartPolicy"] == "OnFailure"
        pod = replica["template"]["spec"]
        (container,) = pod["containers"]
        assert container["name"] == "pytorch"  # the operator looks for it
        assert container["resources"]["limits"][GPU] == JOB["spec"]["nprocPerNode"]
        assert pod["terminationGracePeriodSeconds"] >= 120  # container.sh waits for 110
        check_container(container, pod["volumes"])


# The fields of a TrainJob in Kubeflow Trainer 2.2, as far as this job may need them. "!" marks required fields. A text
# in place of fields is a type of JSON, or of Kubernetes' own client, which then checks the value.
NESTED_PATCH = {
    "metadata": "dict(str, object)",
    "spec": {
        "template": {
            "metadata": "dict(str, object)",
            "spec": {
                "serviceAccountName": "str",
                "volumes": "list[V1Volume]",
                "nodeSelector": "dict(str, str)",
                "tolerations": "list[V1Toleration]",
                "affinity": "V1Affinity",
                "containers": [
                    {
                        "name!": "str",
                        "env": "list[V1EnvVar]",
                        "volumeMounts": "list[V1VolumeMount]",
                        "securityContext": "V1SecurityContext",
                    }
                ],
            },
        },
    },
}
TRAINJOB_FIELDS = {
    "apiVersion!": "str",
    "kind!": "str",
    "metadata!": "V1ObjectMeta",
    "spec!": {
        "runtimeRef!": {"name!": "str", "apiGroup": "str", "kind": "str"},
        "trainer": {
            "image": "str",
            "command": "list[str]",
            "args": "list[str]",
            "env": "list[V1EnvVar]",
            "numNodes": "int",
            "numProcPerNode": "int",
            "resourcesPerNode": "V1ResourceRequirements",
        },
        "runtimePatches": [
            {
                "manager!": "str",
                "trainingRuntimeSpec": {
                    "template": {
                        "metadata": "dict(str, object)",
                        "spec": {"replicatedJobs": [{"name!": "str", "template": NESTED_PATCH}]},
                    }
                },
            }
        ],
        "suspend": "bool",
        "managedBy": "str",
        "activeDeadlineSeconds": "int",
    },
}


def faults(value: object, fields: object, place: str = "") -> list[str]:
    """Return what in a manifest its table of fields does not allow."""
    if isinstance(fields, str):
        if fields in ("str", "int", "bool"):
            return [] if type(value).__name__ == fields else [f"{place}: expected {fields}"]
        client = ApiClient()
        answer = SimpleNamespace(data=json.dumps(value))
        read = client.sanitize_for_serialization(client.deserialize(answer, fields))
        return [] if read == value else [f"{place}: expected {fields}"]
    if isinstance(fields, list):
        assert isinstance(value, list)
        return [fault for n, item in enumerate(value) for fault in faults(item, fields[0], f"{place}[{n}]")]
    assert isinstance(fields, dict)
    assert isinstance(value, dict)
    known = {name.rstrip("!"): below for name, below in fields.items()}
    found = [f"{place}.{name}: unknown" for name in value.keys() - known.keys()]
    found += [f"{place}.{name[:-1]}: missing" for name in fields if name.endswith("!") and name[:-1] not in value]
    return found + [
        fault for name in value.keys() & known for fault in faults(value[name], known[name], f"{place}.{name}")
    ]


def test_the_trainjob_has_the_schema() -> None:
    assert as_the_api_reads_it(TRAINJOB_CLAIM) == TRAINJOB_CLAIM == CLAIM
    assert TRAINJOB["apiVersion"] == "trainer.kubeflow.org/v1alpha1"
    assert faults(TRAINJOB, TRAINJOB_FIELDS) == []


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda spec: spec.pop("runtimeRef"), ".spec.runtimeRef: missing"),
        (lambda spec: spec.update(podTemplateOverrides=[]), ".spec.podTemplateOverrides: unknown"),
        (lambda spec: spec["trainer"].update(numProcPerNode="8"), ".spec.trainer.numProcPerNode: expected int"),
        (lambda spec: spec["trainer"].update(volumes=[]), ".spec.trainer.volumes: unknown"),
        (lambda spec: spec["runtimePatches"][0].pop("manager"), ".spec.runtimePatches[0].manager: missing"),
        (
            lambda spec: spec["trainer"]["resourcesPerNode"].update(gpus=1),
            ".spec.trainer.resourcesPerNode: expected V1ResourceRequirements",
        ),
    ],
)
def test_the_schema_of_the_trainjob_finds_damage(damage: Callable[[Manifest], None], fault: str) -> None:
    job = json.loads(json.dumps(TRAINJOB))
    damage(job["spec"])
    assert faults(job, TRAINJOB_FIELDS) == [fault]


def test_the_parts_of_the_trainjob_fit_together() -> None:
    assert TRAINJOB["spec"]["runtimeRef"] == {"name": "torch-distributed"}
    resources = TRAINER["resourcesPerNode"]
    # Releases differ in which of the two they count the processes by.
    assert resources["requests"] == resources["limits"]
    assert int(resources["limits"][GPU]) == TRAINER["numProcPerNode"]
    (patch,) = TRAINJOB["spec"]["runtimePatches"]
    (replicated,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = replicated["template"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert replicated["name"] == container["name"] == "node"  # as the runtime names them
    check_container(container | {"args": TRAINER["args"]}, pod["volumes"])


def test_both_jobs_run_the_same_container() -> None:
    (container,) = REPLICAS["Master"]["template"]["spec"]["containers"]
    assert {name: container[name] for name in ("image", "command", "args")} == {
        name: TRAINER[name] for name in ("image", "command", "args")
    }
    assert JOB["spec"]["nprocPerNode"] == str(TRAINER["numProcPerNode"])
    assert sum(replica["replicas"] for replica in REPLICAS.values()) == TRAINER["numNodes"]


def pytorchjob_variables(pods: int, processes: int, rank: int, port: int) -> dict[str, str]:
    """Return the variables that the training operator 1.9 sets in a pod."""
    master = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ours = {f"PET_{name}": value for name, value in master.items()} | master
    counts = {"WORLD_SIZE": pods * processes, "RANK": rank}
    counts |= {"PET_NNODES": pods, "PET_NPROC_PER_NODE": processes, "PET_NODE_RANK": rank}
    return ours | {name: str(count) for name, count in counts.items()}


def trainjob_variables(pods: int, processes: int, rank: int, port: int) -> dict[str, str]:
    """Return the variables that Kubeflow Trainer 2 sets in a pod."""
    every = pytorchjob_variables(pods, processes, rank, port)
    return {name: value for name, value in every.items() if name.startswith("PET_")}


Variables = Callable[[int, int, int, int], dict[str, str]]


def start_pods(folder: Path, settings: dict[str, str], variables: Variables) -> list["subprocess.Popen[str]"]:
    """Start two pods of two processes; `folder` is the volume, and this repository the clone in the image."""
    (container,) = REPLICAS["Master"]["template"]["spec"]["containers"]
    command = [word.replace("/wgan_dist/", f"{REPOSITORY}/") for word in container["command"]]
    arguments = [word.replace("=/work/", f"={folder}/") for word in container["args"]] + flags(settings)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    image = os.environ | {"PATH": path, "PYTHONPATH": str(REPOSITORY)}
    port = free_ports(1)[0]
    return [
        subprocess.Popen(
            [*command, *arguments],
            env=image | variables(2, 2, rank, port),
            stdout=(folder / f"{rank}.log").open("w"),
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]


@pytest.mark.cluster
@pytest.mark.parametrize("variables", [pytorchjob_variables, trainjob_variables])
def test_an_evicted_pod_stops_all_and_all_resume(
    tmp_path: Path, digits: ImageDataset, tiny: dict[str, str], variables: Variables
) -> None:
    (tmp_path / "data").mkdir()
    make_photos(tmp_path / "data/my_photos", digits, 0)
    settings = {name: value for name, value in tiny.items() if name != "cache_dir"} | {"max_steps": "1000000"}
    pods, log = start_pods(tmp_path, settings, variables), tmp_path / "0.log"
    wait_until(lambda: "first step" in log.read_text(), "training")
    pods[1].send_signal(signal.SIGTERM)
    assert 0 not in [pod.wait(HANG_SECONDS) for pod in pods]  # OnFailure restarts them
    assert "4 processes on cpu" in log.read_text()
    stopped = re.search(r"stopped by SIGTERM after step (\d+).*; everything is saved", log.read_text())
    assert stopped
    pods = start_pods(tmp_path, settings | {"max_steps": str(int(stopped[1]) + 2)}, variables)
    assert [pod.wait(HANG_SECONDS) for pod in pods] == [0, 0]
    assert "new weights" not in log.read_text()
    assert (tmp_path / "runs/cats/generator.safetensors").exists()
