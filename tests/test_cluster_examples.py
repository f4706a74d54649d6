"""The examples for clusters: they are what they say, and their commands are ours."""

import re
import shlex
import shutil
import subprocess

import pytest
import yaml
from small import ROOT

from dff.commands.predict import parse
from dff.commands.prediction import LEFT_ALONE

EXAMPLES = sorted((ROOT / "scripts" / "examples").iterdir())
VALUES = {"$JOB_COMPLETION_INDEX": "7"}


def test_there_is_one_for_each_kind_of_cluster():
    assert [f.name for f in EXAMPLES] == ["kubernetes-job.yaml", "slurm-array.sh", "torchrun.sh"]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_its_command_parses(file):
    text = file.read_text()
    for name, value in VALUES.items():
        text = text.replace(name, value)
    if file.suffix == ".yaml":
        job = yaml.safe_load(text)
        (container,) = job["spec"]["template"]["spec"]["containers"]
        (text,) = container["args"]
    (command,) = re.findall(r"^(?!#).*?\bdff predict (.*?)(?: \|\||$)", text, re.M)
    args = parse(shlex.split(command))
    assert args.list_file.name == "videos.txt" and (args.claim or args.shard)
    assert "$" not in command


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.parametrize("file", [f for f in EXAMPLES if f.suffix == ".sh"], ids=lambda f: f.name)
def test_bash_takes_it(file):
    subprocess.run(["bash", "-n", file], check=True)
    assert f"[ $? -eq {LEFT_ALONE} ]" in file.read_text()


def test_the_shards_of_the_job_are_its_pods():
    job = yaml.safe_load((ROOT / "scripts/examples/kubernetes-job.yaml").read_text())["spec"]
    assert job["completionMode"] == "Indexed"
    (args,) = job["template"]["spec"]["containers"][0]["args"]
    assert f'"$JOB_COMPLETION_INDEX/{job["completions"]}"' in args
    codes = [rule["onExitCodes"] for rule in job["podFailurePolicy"]["rules"][1:]]
    assert codes == [{"operator": "In", "values": [LEFT_ALONE]}]
