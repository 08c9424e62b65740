"""What the deploy files say, as JSON, after the tools that know their formats have taken them. Argument: the folder of the files."""

import json
import pathlib
import sys

import kubernetes_validate
import yaml
from compose_spec import PyCompose

folder = pathlib.Path(sys.argv[1])
manifests = []
for file in sorted((folder / "kubernetes").glob("*.yaml")):
    for manifest in yaml.safe_load_all(file.read_text()):
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
        manifests.append(manifest)
compose = (folder / "compose.yaml").read_text()
PyCompose.from_yaml(yaml.safe_dump(yaml.safe_load(compose)))
json.dump(
    {
        "manifests": manifests,
        "compose": yaml.safe_load(compose),
        "prometheus": yaml.safe_load((folder / "prometheus.yml").read_text()),
    },
    sys.stdout,
)
