"""Validates the manifests of docs/recipes against the schemas of what would run them, without a cluster.

    python check.py docs/recipes                               Kubernetes, LeaderWorkerSet and compose
    python check.py docs/recipes --ray                         Ray Serve's, with the Python of an installation of Ray

Says of each object what it was validated against, and ends with 1 if one is wrong."""

import importlib.util
import json
import sys
from pathlib import Path

import yaml

KUBERNETES = "1.37"
HERE = Path(__file__).parent


def problems_of(path, ray):
    text = path.read_text()
    if ray:
        if path.name.startswith("ray-"):
            yield "a Serve config", serve_config(yaml.safe_load(text))
    elif path.name == "compose.yaml":
        yield "a compose file", compose(yaml.safe_load(text))
    elif not path.name.startswith("ray-"):
        for manifest in yaml.safe_load_all(text):
            yield f"{manifest['kind']} {manifest['metadata']['name']}", kubernetes(manifest)


def kubernetes(manifest):
    if manifest["apiVersion"].startswith("leaderworkerset."):
        return leader_worker_set(manifest)
    import kubernetes_validate

    try:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [str(error).partition("\n\n")[0]]
    return []


def leader_worker_set(manifest):
    problems = schema_problems(manifest, json.loads((HERE / "leaderworkerset.schema.json").read_text()))
    template = manifest["spec"]["leaderWorkerTemplate"]
    for name in ("leaderTemplate", "workerTemplate"):
        if name in template:
            pod = template[name] | {"apiVersion": "v1", "kind": "Pod"}
            problems += [f"{name}: {problem}" for problem in kubernetes(pod)]
    return problems


def compose(document):
    # The package that `docker-compose` used to be carries the schema; nothing of it is imported.
    package = Path(importlib.util.find_spec("compose").origin).parent
    return schema_problems(document, json.loads((package / "config" / "compose_spec.json").read_text()))


def schema_problems(document, schema):
    import jsonschema

    return [f"{error.json_path}: {error.message}" for error in jsonschema.Draft7Validator(schema).iter_errors(document)]


def serve_config(document):
    import pydantic
    from ray.serve.schema import ServeApplicationSchema, ServeDeploySchema

    try:
        ServeDeploySchema.model_validate(document)
    except pydantic.ValidationError as error:
        return [str(error)]
    # Ray itself passes over what it doesn't know.
    known = [(document, ServeDeploySchema)] + [(app, ServeApplicationSchema) for app in document["applications"]]
    return [f"{key} is unknown" for part, schema in known for key in part if key not in schema.model_fields]


def main(folder, *flags):
    wrong = checked = 0
    for path in sorted(Path(folder).glob("*.yaml")):
        for what, problems in problems_of(path, "--ray" in flags):
            checked += 1
            wrong += bool(problems)
            print(f"{'WRONG' if problems else 'ok'}: {path.name}: {what}", *problems, sep="\n  ")
    if not checked:
        sys.exit(f"nothing to validate in {folder}")
    sys.exit(1 if wrong else 0)


main(*sys.argv[1:])
