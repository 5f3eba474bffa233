"""Looks through the manifests of deploy/kubernetes and deploy/compose: manifests.py DEPLOY [RENDERED…]

Each resource is held against Kubernetes' published schemas, and against what a server of this kind needs. Prints a line for each
fault, and last how much it has seen.
"""

import pathlib
import re
import sys
import tomllib

import kubernetes_validate
import yaml

# The oldest that has all that is used, and the newest that the package knows.
VERSIONS = ("1.33", "1.37")
# Of others than Kubernetes, whose schemas no package carries.
OTHERS = {"keda.sh/v1alpha1", "monitoring.coreos.com/v1", "kustomize.config.k8s.io/v1beta1", "kustomize.config.k8s.io/v1alpha1"}
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}

faults = []
seen = 0


def fault(where, what):
    faults.append(f"{where}: {what}")


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", str(text)).groups()
    return int(number) * UNITS[unit]


def drain(path):
    """How long a drain takes at most with this file's settings, and the connections that it allows."""
    settings = tomllib.loads(path.read_text())
    of = settings.get("drain", {})
    connections = settings["limits"]["connections"]
    window = max(seconds(of.get("window", "30s")), connections / of.get("rate", 5000))
    grace = seconds(settings.get("lifetime", {}).get("grace", "4s"))
    return seconds(of.get("delay", "5s")) + window + grace, connections


def documents(path):
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def of_kubernetes(where, document):
    global seen
    seen += 1
    kind, version = document["kind"], document["apiVersion"]
    if version in OTHERS:
        return
    for release in VERSIONS:
        try:
            kubernetes_validate.validate(document, release, strict=True)
        except Exception as error:  # Each of the package's own has the reason in its first line.
            fault(where, f"{kind}, Kubernetes {release}: {str(error).splitlines()[0]}")
    if kind == "Deployment":
        deployment(f"{where}: {document['metadata']['name']}", document)


def deployment(where, document):
    """What every pod has, whatever it runs."""
    spec = document["spec"]
    pod = spec["template"]["spec"]
    if document["spec"]["selector"]["matchLabels"] != spec["template"]["metadata"]["labels"]:
        fault(where, "the selector is not the pods' labels")
    if pod.get("enableServiceLinks") is not False:
        fault(where, "enableServiceLinks: false is missing")
    if pod.get("automountServiceAccountToken") is not False:
        fault(where, "automountServiceAccountToken: false is missing")
    if not pod["securityContext"].get("runAsNonRoot"):
        fault(where, "runAsNonRoot is missing")
    for container in pod["containers"]:
        resources = container["resources"]
        if "cpu" in resources.get("limits", {}) or "cpu" not in resources["requests"]:
            fault(where, "processors are asked for, and not limited")
        if resources["limits"]["memory"] != resources["requests"]["memory"]:
            fault(where, "memory is asked for as it is limited")
        if "readinessProbe" not in container:
            fault(where, "no readinessProbe")
        context = container["securityContext"]
        if context != {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}:
            fault(where, "the container may do more than it needs")


def node(where, document, takes):
    """A node leaves in peace, and no second one leaves meanwhile."""
    spec = document["spec"]
    pod = spec["template"]["spec"]
    if pod["terminationGracePeriodSeconds"] <= takes:
        fault(where, f"terminationGracePeriodSeconds is not longer than the drain, {takes} s")
    if spec["minReadySeconds"] <= takes:
        fault(where, f"minReadySeconds is not longer than the drain, {takes} s: several nodes drain at once")
    if spec["strategy"]["rollingUpdate"] != {"maxSurge": 1, "maxUnavailable": 0}:
        fault(where, "a rollout takes a node away before there is another")
    probes = {name: pod["containers"][0][name]["httpGet"]["path"] for name in ("readinessProbe", "livenessProbe", "startupProbe")}
    if probes != {"readinessProbe": "/readyz", "livenessProbe": "/livez", "startupProbe": "/livez"}:
        fault(where, f"probes ask {probes}")
    names = [variable["name"] for variable in pod["containers"][0]["env"]]
    if names.index("POD_IP") > names.index("HOLDFAST_NODE_ADVERTISE"):
        fault(where, "POD_IP is used before it is there")


def kubernetes(deploy, rendered):
    folder = deploy / "kubernetes"
    for path in sorted(folder.rglob("*.yaml")):
        for document in documents(path):
            # Patches and Helm's values are no resources of their own; they are in what is rendered.
            if "kind" in document and not (path.parent.name in ("aws-nlb", "unsafe-sysctls") and path.name != "kustomization.yaml"):
                of_kubernetes(path.relative_to(deploy), document)
            if document.get("kind") in ("Kustomization", "Component"):
                for name in document.get("resources", []) + document.get("components", []) + [
                    patch["path"] for patch in document.get("patches", []) if "path" in patch
                ]:
                    if not (path.parent / name).exists():
                        fault(path.relative_to(deploy), f"{name} is not there")
    for configuration, manifest in [("base", "base")]:
        takes, _ = drain(folder / configuration / "holdfast.toml")
        (found,) = [document for document in documents(folder / manifest / "nodes.yaml") if document["kind"] == "Deployment"]
        node(manifest, found, takes)
    for path in rendered:
        for document in documents(path):
            of_kubernetes(path.name, document)
            if document["kind"] == "Deployment" and document["metadata"]["name"] == "holdfast-node":
                node(path.name, document, drain(folder / "example" / "holdfast.toml")[0])


def compose(deploy):
    global seen
    folder = deploy / "compose"
    (file,) = documents(folder / "compose.yaml")
    takes, connections = drain(folder / "holdfast.toml")
    services = file["services"]
    for name, service in services.items():
        seen += 1
        image = service["image"]
        if ":" not in image or image.endswith(":latest"):
            fault(name, f"{image} has no release")
        for kind in ("secrets", "configs"):
            for used in service.get(kind, []):
                used = used if isinstance(used, str) else used["source"]
                if used not in file[kind]:
                    fault(name, f"{kind}: {used} is not declared")
        for other in service.get("depends_on", {}):
            if other not in services:
                fault(name, f"depends on {other}, which is not there")
        if service.get("command", [""])[0] == "serve":
            if seconds(service["stop_grace_period"]) <= takes:
                fault(name, f"stop_grace_period is not longer than the drain, {takes} s")
            if service["ulimits"]["nofile"]["hard"] < connections + 256:
                fault(name, f"ulimits: {connections} connections need 256 more descriptors")
    for name, config in file["configs"].items():
        if not (folder / config["file"]).exists():
            fault(name, f"{config['file']} is not there")
    made = (folder / "make-secrets").read_text()
    for name in file["secrets"]:
        if name not in made:
            fault(name, "make-secrets does not make it")


root = pathlib.Path(sys.argv[1])
kubernetes(root, [pathlib.Path(path) for path in sys.argv[2:]])
compose(root)
print("\n".join(faults + [f"{seen} things seen"]))
