"""The programs that the documentation names and that cannot run in a test: they need AWS, a registry or a container
runtime. Each checks its arguments against the sub-commands and flags that it knows, and fails if one is unknown.

    programs.py NAME ARGUMENT…

`aws` knows every operation by the models of botocore. It sends those of EC2 and STS to the simulator.
`kubectl` and `helm` are the real programs, with the few changes that a cluster without kubelets and registries needs.
"""

import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

# The flags of each sub-command, and whether they take a value.
KNOWN = {
    "cosign": {
        "verify": {"--certificate-oidc-issuer": 1, "--certificate-identity": 1, "--certificate-identity-regexp": 1},
        "verify-attestation": {
            "--type": 1,
            "--certificate-oidc-issuer": 1,
            "--certificate-identity": 1,
            "--certificate-identity-regexp": 1,
        },
    },
    "docker": {"build": {"--tag": 1, "--platform": 1, "--file": 1}, "push": {}},
    "eksctl": {
        "create podidentityassociation": {"--config-file": 1, "--cluster": 1},
        "create addon": {"--cluster": 1, "--name": 1},
    },
    "gh": {"release download": {"--repo": 1, "--pattern": 1}, "attestation verify": {"--repo": 1, "--owner": 1}},
    "kubectl-krew": {"install": {"--manifest-url": 1, "--manifest": 1}, "update": {}, "upgrade": {}},
    "setup-envtest": {"use": {"-p": 1, "--bin-dir": 1}},
    "terraform": {
        "init": {},
        "validate": {},
        "plan": {"-refresh-only": 0},
        "apply": {"-auto-approve": 0, "-refresh-only": 0},
        "show": {"-json": 0},
    },
}


def fail(message):
    sys.exit(f"tests/python/programs.py: {message}. Correct the command, or add what it uses to this program.")


def parsed(name, arguments):
    """The sub-command, its flags and its other arguments."""
    commands = KNOWN[name]
    words = next((n for n in (2, 1) if " ".join(arguments[:n]) in commands), None)
    if words is None:
        fail(f"{name} has no sub-command {' '.join(arguments[:2])!r}; known are {', '.join(commands)}")
    command, rest = " ".join(arguments[:words]), arguments[words:]
    flags, others = {}, []
    while rest:
        word = rest.pop(0)
        flag, has_value, value = word.partition("=")
        if not word.startswith("-") or word == "-":
            others.append(word)
        elif flag not in commands[command]:
            fail(f"{name} {command} has no flag {flag}; known are {', '.join(commands[command])}")
        elif commands[command][flag] and not has_value:
            flags[flag] = rest.pop(0) if rest else fail(f"{flag} has no value")
        else:
            flags[flag] = value
    return command, flags, others


def cosign(_command, flags, others):
    [artifact] = others
    if not re.fullmatch(r"ghcr\.io/[a-z0-9-]+/(charts/)?vpc-peering-operator:\d+\.\d+\.\d+", artifact):
        fail(f"the release workflow pushes no {artifact}")
    if flags.get("--certificate-oidc-issuer") != "https://token.actions.githubusercontent.com":
        fail("the release workflow signs with the identity that GitHub issues")
    # The identity that the release workflow has.
    owner, version = artifact.split("/")[1], artifact.rpartition(":")[2]
    identity = f"https://github.com/{owner}/vpc-peering-operator/.github/workflows/release.yaml@refs/tags/v{version}"
    expected = flags.get("--certificate-identity")
    pattern = flags.get("--certificate-identity-regexp")
    if not (expected == identity or pattern and re.search(pattern, identity)):
        fail(f"the identity is {identity}")
    if not (REPOSITORY / ".github/workflows/release.yaml").exists():
        fail("there is no release workflow")


def docker(command, _flags, others):
    if command == "build" and not (Path(others[0]) / "Dockerfile").exists():
        fail(f"{others[0]} has no Dockerfile")


def eksctl(_command, flags, _others):
    if "--config-file" in flags:
        import yaml

        config = yaml.safe_load(Path(flags["--config-file"]).read_text())
        if config["apiVersion"] != "eksctl.io/v1alpha5" or config["kind"] != "ClusterConfig":
            fail("no ClusterConfig")
        if not config["metadata"]["name"] or not config["metadata"]["region"]:
            fail("no cluster")
        text = json.dumps(config)
        for placeholder in ("my-cluster", "222222222222", "11111111-2222-3333-4444-555555555555"):
            if placeholder in text and placeholder != os.environ.get("CLUSTER"):
                fail(f"the placeholder {placeholder} is left")


def terraform(command, _flags, _others):
    if command == "show":
        print((REPOSITORY / "tests/e2e/fixtures/import/terraform.json").read_text())


def setup_envtest(_command, _flags, _others):
    print(os.environ["ASSETS"])


def nothing(_command, _flags, _others):
    pass


CHECKS = {
    "cosign": cosign,
    "docker": docker,
    "eksctl": eksctl,
    "gh": nothing,
    "kubectl-krew": nothing,
    "setup-envtest": setup_envtest,
    "terraform": terraform,
}


def curl(arguments):
    """Serves the files of this repository, and those that a release has."""
    flags = "".join(word.strip("-") for word in arguments if word.startswith("-"))
    urls = [word for word in arguments if not word.startswith("-")]
    if set(flags) - set("fsSLO") or len(urls) != 1:
        fail(f"unknown arguments {arguments}")
    raw = re.fullmatch(r"https://raw\.githubusercontent\.com/[^/]+/vpc-peering-operator/v[\d.]+/(.+)", urls[0])
    releases = r"https://github\.com/[^/]+/vpc-peering-operator/releases/download/v[\d.]+"
    release = re.fullmatch(releases + r"/kubectl-pcx-linux-(?:amd64|arm64)\.tar\.gz", urls[0])
    if raw and (REPOSITORY / raw[1]).is_file():
        content = (REPOSITORY / raw[1]).read_bytes()
        if "O" in flags:
            Path(Path(raw[1]).name).write_bytes(content)
        else:
            sys.stdout.buffer.write(content)
    elif release:
        with tarfile.open(fileobj=sys.stdout.buffer, mode="w|gz") as archive:
            archive.add(os.environ["OPERATOR"], "kubectl-pcx")
            archive.add(REPOSITORY / "LICENSE", "LICENSE")
    else:
        fail(f"nothing is published at {urls[0]}")


def make(arguments):
    targets = re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    arguments = [argument for argument in arguments if not re.match(r"[A-Z_]+=", argument)]
    if any(target not in targets for target in arguments):
        fail(f"the Makefile has no target {arguments}")
    if arguments == ["demo"]:
        # What the demo does first. It must neither build Kubernetes nor need Go.
        program, assets = REPOSITORY / "tests/control-plane/build.sh", os.environ["KUBEBUILDER_ASSETS"]
        environment = {"PATH": "/usr/bin:/bin", "KUBEBUILDER_ASSETS": assets}
        found = subprocess.run([program], env=environment, check=True, capture_output=True, text=True)
        if found.stdout.strip() != assets:
            fail("build.sh does not use KUBEBUILDER_ASSETS")
        environment["KUBEBUILDER_ASSETS"] = "/nonexistent"
        refused = subprocess.run([program], env=environment, check=False, capture_output=True, text=True)
        if refused.returncode == 0 or "/nonexistent has no executable etcd" not in refused.stderr:
            fail(f"build.sh takes a folder without the programs: {refused}")


def kubectl(arguments):
    """The real kubectl. No kubelet runs, so `logs` only finds the object. Variations are dry runs."""
    changes = ("apply", "create", "delete", "annotate", "label", "patch")
    command = next((word for word in arguments if not word.startswith("-")), "")
    if command == "logs":
        skipped = ("--since", "--tail", "--follow", "-f")
        rest = [word for word in arguments if word != "logs" and not word.startswith(skipped)]
        before = ["", *rest]
        is_object = [
            not word.startswith("-") and "/" not in word and before[i] not in ("-n", "--namespace")
            for i, word in enumerate(rest)
        ]
        named = [f"pod/{word}" if is_one else word for word, is_one in zip(rest, is_object)]
        arguments = ["get", *named]
    elif command in changes and os.environ.get("VARIATION"):
        arguments = [*arguments, "--dry-run=server"]
        if "--server-side" in arguments:
            arguments.append("--force-conflicts")
    os.execv(os.environ["KUBECTL"], ["kubectl", *arguments])


def helm(arguments):
    """The real Helm. The chart of this checkout replaces the published one, and names an image. Variations are dry
    runs."""
    chart = str(REPOSITORY / "charts/vpc-peering-operator")
    command = arguments[0]
    words, rest = [], list(arguments)
    while rest:
        word = rest.pop(0)
        if re.fullmatch(r"oci://ghcr\.io/[a-z0-9-]+/charts/vpc-peering-operator", word):
            words += [chart, "--set", "image.repository=ghcr.io/example/vpc-peering-operator"]
        elif word == "--version" and chart in words:
            if not re.fullmatch(r"\d+\.\d+\.\d+", rest.pop(0)):
                fail("--version is no version")
        else:
            words.append(word)
    if command in ("install", "upgrade") and os.environ.get("VARIATION"):
        # The release of the README has the CRDs.
        words += ["--dry-run=server", "--set", "crds.install=false"]
        if not any("image.repository" in word for word in words):
            words += ["--set", "image.repository=ghcr.io/example/vpc-peering-operator"]
    os.execv(os.environ["HELM"], ["helm", *words])


def shorthand(text):
    """The shorthand syntax of the AWS CLI.

    <https://docs.aws.amazon.com/cli/latest/userguide/cli-usage-shorthand.html>
    """
    if text.startswith(('[{"', '{"', '["')):
        return json.loads(text)
    position = 0

    def value():
        nonlocal position
        if text[position] == "[":
            position += 1
            all_values = []
            while text[position] != "]":
                all_values.append(value())
                position += text[position] == ","
            position += 1
            return all_values
        if text[position] == "{":
            position += 1
            fields = structure("}")
            position += 1
            return fields
        found = re.compile(r"[^,\]}=]*").match(text, position)
        position = found.end()
        return found[0]

    def structure(end):
        nonlocal position
        fields, key = {}, None
        while position < len(text) and text[position] != end:
            word = value()
            if position < len(text) and text[position] == "=":
                position += 1
                key, fields[word] = word, value()
            elif key is None:
                return text
            else:
                previous = fields[key] if isinstance(fields[key], list) else [fields[key]]
                fields[key] = [*previous, word]
            position += position < len(text) and text[position] == ","
        return fields

    return structure("")


def converted(shape, value):
    """A parsed value as the type of its shape."""
    if shape.type_name == "list":
        values = value if isinstance(value, list) else [value]
        return [converted(shape.member, one) for one in values]
    if shape.type_name == "structure":
        unknown = set(value) - set(shape.members)
        if unknown:
            fail(f"{shape.name} has no {', '.join(unknown)}")
        return {name: converted(shape.members[name], one) for name, one in value.items()}
    if shape.type_name in ("integer", "long"):
        return int(value)
    if shape.type_name == "boolean":
        return value in (True, "true")
    return value


# Arguments that the AWS CLI adds to those of the API.
GLOBAL = {"region": 1, "profile": 1, "query": 1, "output": 1}
SIMPLE = {"protocol": 1, "port": 1, "cidr": 1, "source-group": 1, "group-owner": 1}
DEPLOY = {"stack-name": 1, "template-file": 1, "capabilities": 2, "parameter-overrides": 2}


def aws(arguments):
    import botocore.session
    from botocore import xform_name

    session = botocore.session.get_session()
    service, command, rest = arguments[0], arguments[1], arguments[2:]
    if service not in session.get_available_services():
        fail(f"aws has no service {service}")
    if (service, command) == ("cloudformation", "deploy"):
        return deploy(flags_of(rest, DEPLOY, "aws cloudformation deploy"))
    model = session.get_service_model(service)
    operations = {xform_name(name, "-"): name for name in model.operation_names}
    if command not in operations:
        fail(f"aws {service} has no command {command}")
    operation = model.operation_model(operations[command])
    members = operation.input_shape.members if operation.input_shape else {}
    names = {xform_name(name, "-"): name for name in members}
    is_ingress = command.startswith("authorize-security-group-")
    known = {**{name: 2 for name in names}, **GLOBAL, **(SIMPLE if is_ingress else {})}
    switches = [name for name in names if members[names[name]].type_name == "boolean"]
    known |= {name: 0 for name in switches} | {f"no-{name}": 0 for name in switches}
    flags = flags_of(rest, known, f"aws {service} {command}")
    parameters = {}
    for flag, values in flags.items():
        if flag in names:
            shape = members[names[flag]]
            inner = shape.member if shape.type_name == "list" else shape
            values = [shorthand(value) for value in values] if inner.type_name == "structure" else values
            one = values[0] if shape.type_name != "list" and values else values
            one = values[0] if shape.type_name == "list" and len(values) == 1 and isinstance(values[0], list) else one
            parameters[names[flag]] = converted(shape, one if values else True)
    report = botocore.validate.ParamValidator().validate(parameters, operation.input_shape) if members else None
    if report and report.has_errors() and not is_ingress:
        fail(report.generate_report())
    if is_ingress:
        return authorize(flags, parameters)
    if service not in ("ec2", "sts") or command == "decode-authorization-message":
        return None
    region = flags.get("region", [os.environ.get("AWS_REGION", "eu-central-1")])[0]
    client = session.create_client(service, region_name=region)
    answer = client._make_api_call(operations[command], parameters)
    answer.pop("ResponseMetadata", None)
    if "query" in flags:
        import jmespath

        answer = jmespath.search(flags["query"][0], answer)
    if flags.get("output") == ["text"]:
        print("\t".join(answer) if isinstance(answer, list) else answer)
    elif answer:
        print(json.dumps(answer, indent=4, default=str))
    return None


def flags_of(words, known, command):
    flags, current = {}, None
    for word in words:
        if word.startswith("--"):
            name, has_value, value = word[2:].partition("=")
            if name not in known:
                fail(f"{command} has no flag --{name}")
            current = flags.setdefault(name, [])
            if has_value:
                current.append(value)
        elif current is None:
            fail(f"{command}: unexpected {word}")
        else:
            current.append(word)
    for name, values in flags.items():
        if known[name] == 1 and len(values) != 1:
            fail(f"{command}: --{name} takes one value")
    return flags


def control(method, path, body=None):
    """Calls the control API of the simulator."""
    import urllib.request

    data = None if body is None else json.dumps(body).encode()
    url = f"{os.environ['AWS_ENDPOINT_URL']}/_simulator/{path}"
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read() or b"null")


def authorize(flags, parameters):
    """The simulator changes security groups only by its control API."""
    group, = (group for group in control("GET", "state")["security_groups"] if group["id"] == parameters["GroupId"])
    if "cidr" in flags:
        rule = {"protocol": flags["protocol"][0], "peer": {"ipv4": flags["cidr"][0]}}
        if flags["protocol"] != ["icmp"]:
            rule["ports"] = [int(flags["port"][0])] * 2
    else:
        [permission] = parameters["IpPermissions"]
        rule = {
            "protocol": permission["IpProtocol"],
            "ports": [permission["FromPort"], permission["ToPort"]],
            "peer": {"group": permission["UserIdGroupPairs"][0]["GroupId"]},
        }
    group["rules"].append(rule)
    control("POST", "state", {"security_groups": [group]})


def deploy(flags):
    """Attaches the policy of the template to the operator's key, as its role would have it."""
    import yaml

    # A parameter that is not given keeps its value.
    saved = Path(os.environ["HOME"]) / f"stack-{flags['stack-name'][0]}.json"
    parameters = json.loads(saved.read_text()) if saved.exists() else {}
    parameters |= dict(one.split("=", 1) for one in flags["parameter-overrides"])
    saved.write_text(json.dumps(parameters))
    template = yaml.safe_load(Path(flags["template-file"][0]).read_text())
    for name, parameter in template["Parameters"].items():
        if parameters.setdefault(name, parameter.get("Default")) is None:
            fail(f"the parameter {name} has no value")
    unknown = set(parameters) - set(template["Parameters"])
    if unknown:
        fail(f"the template has no parameter {', '.join(unknown)}")
    kinds = {resource["Type"]: resource["Properties"] for resource in template["Resources"].values()}
    if "AWS::IAM::Role" in kinds and flags.get("capabilities") not in (["CAPABILITY_IAM"], ["CAPABILITY_NAMED_IAM"]):
        fail("a template with a role needs --capabilities CAPABILITY_IAM")
    variables = {"AWS::AccountId": "111111111111", "AWS::Partition": "aws", **parameters}

    # The one condition of the template.
    conditions = {"HasOtherAccount": parameters["OtherAccount"] != ""}

    def resolve(value):
        if isinstance(value, list):
            return [one for one in map(resolve, value) if one is not None]
        if not isinstance(value, dict):
            return value
        if set(value) == {"Fn::If"}:
            condition, then, otherwise = value["Fn::If"]
            return resolve(then if conditions[condition] else otherwise)
        if value == {"Ref": "AWS::NoValue"}:
            return None
        if set(value) == {"Ref"}:
            return variables[value["Ref"]]
        if set(value) == {"Fn::Sub"}:
            text = re.sub(r"\$\{([A-Za-z:]+)\}", lambda found: variables[found[1]], value["Fn::Sub"])
            return text.replace("${!", "${")
        return {name: resolve(one) for name, one in value.items()}

    association = kinds["AWS::EKS::PodIdentityAssociation"]
    association = resolve({name: value for name, value in association.items() if name != "RoleArn"})
    if (association["Namespace"], association["ServiceAccount"]) != ("vpc-peering-system", "vpc-peering-operator"):
        fail(f"the operator does not use {association}")
    for policy in kinds["AWS::IAM::Role"]["Policies"]:
        attached = {"name": policy["PolicyName"], "document": resolve(policy["PolicyDocument"])}
        control("POST", "policies", {"principal": os.environ["OPERATOR_KEY"], **attached})
    print("Successfully created/updated stack - " + flags["stack-name"][0])


def main():
    name, arguments = sys.argv[1], sys.argv[2:]
    special = {"aws": aws, "curl": curl, "helm": helm, "kubectl": kubectl, "make": make}
    if name in special:
        special[name](arguments)
    else:
        CHECKS[name](*parsed(name, arguments))


if __name__ == "__main__":
    main()
