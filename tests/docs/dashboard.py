"""Draws docs/pictures/dashboard.svg: the panels of the chart's Grafana dashboard, with data of a run.

The run is the demo with eight further peerings, for some minutes. A Prometheus scrapes the operator and answers the
queries of the dashboard. Grafana itself takes no part: this program draws the panels, at their places in the dashboard.

usage: dashboard.py DEMO PROMETHEUS
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from html import escape
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import Request, urlopen

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "charts/vpc-peering-operator/files/dashboard.json"
SCRAPE_SECONDS, RATE_INTERVAL, PEERINGS, PEERING_SECONDS = 2, "20s", 8, 20
UNIT_X, UNIT_Y, GAP = 50, 32, 8
COLORS = ["#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#ffa6b0", "#c8f2c2", "#d8d9da"]
THRESHOLDS = {"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c"}


def fetch(url, data=None):
    return json.load(urlopen(Request(url, data=data and json.dumps(data).encode())))


def start_demo(demo, folder):
    """Starts the demo, and returns its process and the variables that it prints for another terminal."""
    output = open(folder / "demo.txt", "w+")
    process = subprocess.Popen([demo], stdout=output, env={**os.environ, "DEMO_KEEP": "1"})
    while "Ctrl-C" not in (text := (folder / "demo.txt").read_text()):
        if process.poll() is not None:
            sys.exit(f"the demo ended: {text}")
        time.sleep(1)
    return process, dict(re.findall(r"(KUBECONFIG|AWS_ENDPOINT_URL|kubectl)=(\S+)", text))


def start_prometheus(program, folder, target):
    config = {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s"},
        "scrape_configs": [
            {"job_name": "operator", "static_configs": [{"targets": [target], "labels": {"pod": "operator-0"}}]}
        ],
    }
    # JSON is valid YAML.
    (folder / "prometheus.yaml").write_text(json.dumps(config))
    arguments = [f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"]
    log = open(folder / "prometheus.txt", "w")
    process = subprocess.Popen([program, *arguments, "--web.listen-address=127.0.0.1:0"], stdout=log, stderr=log)
    while not (found := re.search(r"Listening on.*?(127[\d.]+:\d+)", (folder / "prometheus.txt").read_text())):
        time.sleep(1)
    return process, f"http://{found[1]}/api/v1/"


def add_peerings(variables):
    """Adds peerings of one VPC, one after the other, and at last a request that nobody accepts."""
    state = variables["AWS_ENDPOINT_URL"] + "/_simulator/state"
    kubectl = [variables["kubectl"], "--kubeconfig", variables["KUBECONFIG"]]
    for number in range(PEERINGS + 1):
        vpc, is_last = f"vpc-0000000{number + 1}", number == PEERINGS
        account = "222222222222" if is_last else "111111111111"
        place = {"account": account, "region": "eu-central-1"}
        vpcs = [{"id": vpc, "cidr_blocks": [f"10.{101 + number}.0.0/16"], **place}]
        if number == 0:
            vpcs.append({"id": "vpc-00000000", "cidr_blocks": ["10.100.0.0/16"], **place})
        fetch(state, {"vpcs": vpcs})
        spec = {
            "requester": {"vpcId": "vpc-00000000", "region": "eu-central-1"},
            "accepter": {"vpcId": vpc, "ownerId": account},
        }
        name = "to-partner" if is_last else f"to-{number}"
        manifest = {
            "apiVersion": "vpcpeering.dev/v1alpha1",
            "kind": "VpcPeering",
            "metadata": {"name": name, "namespace": "default"},
            "spec": spec,
        }
        apply = [*kubectl, "apply", "-f", "-"]
        subprocess.run(apply, input=json.dumps(manifest).encode(), check=True, stdout=sys.stderr)
        time.sleep(PEERING_SECONDS)


def series(api, panel, start, end):
    """The series of a panel: the name in its legend, and its points."""
    for target in panel["targets"]:
        query = target["expr"].replace("$job", ".*").replace("$__rate_interval", RATE_INTERVAL)
        parameters = {"query": query, "start": start, "end": end, "step": SCRAPE_SECONDS}
        for result in fetch(api + "query_range?" + urlencode(parameters))["data"]["result"]:
            name = re.sub(r"{{(\w+)}}", lambda label: result["metric"].get(label[1], ""), target["legendFormat"])
            points = [(when - start, float(value)) for when, value in result["values"] if value != "NaN"]
            if points:
                yield name, points


def shown(value, unit):
    if unit == "s" and value >= 86400:
        return f"{value / 86400:.1f} days"
    if unit == "s" and 0 < value < 1:
        return f"{value * 1000:.3g} ms"
    suffix = {"s": " s", "reqps": " req/s", "ops": " ops/s"}.get(unit, "")
    return f"{value:.3g}{suffix}"


def text(x, y, content, size=11, color="#9fa7b3", anchor="start", weight=400):
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="{color}" text-anchor="{anchor}"'
        f' font-weight="{weight}">{escape(content)}</text>'
    )


def draw_stat(panel, data, width, height):
    defaults = panel["fieldConfig"]["defaults"]
    if not data:
        return [text(width / 2, height / 2 + 14, "No data", 18, anchor="middle")]
    name, points = data[0]
    value, color = points[-1][1], "#d8d9da"
    for step in defaults.get("thresholds", {}).get("steps", []):
        if step["value"] is None or value >= step["value"]:
            color = THRESHOLDS[step["color"]]
    content = name if panel["options"].get("textMode") == "name" else shown(value, defaults["unit"])
    return [text(width / 2, height / 2 + 20, content, 26, color, "middle", 600)]


def draw_lines(panel, data, width, height, seconds):
    unit = panel["fieldConfig"]["defaults"]["unit"]
    columns = 1 if max((len(name) for name, _ in data), default=0) > 34 else 2
    entries = data[: 3 * columns]
    left, right, top, bottom = 76, width - 12, 36, height - 26 - 15 * -(-len(entries) // columns)
    highest = max((value for _, points in data for _, value in points), default=0) or 1
    parts = []
    for part in (0, 0.5, 1):
        y = bottom - part * (bottom - top)
        parts.append(f'<line x1="{left}" y1="{y:.0f}" x2="{right}" y2="{y:.0f}" stroke="#2c3235"/>')
        parts.append(text(left - 6, y + 4, shown(part * highest, unit), 10, anchor="end"))
        at = left + part * (right - left)
        anchor = ["start", "middle", "end"][int(part * 2)]
        parts.append(text(at, bottom + 14, f"{part * seconds / 60:.1f} min", 10, anchor=anchor))
    for number, (_, points) in enumerate(data):
        line = " ".join(
            f"{left + when / seconds * (right - left):.1f},{bottom - value / highest * (bottom - top):.1f}"
            for when, value in points
        )
        color = COLORS[number % len(COLORS)]
        parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="1.5"/>')
    for number, (name, _) in enumerate(entries):
        x, y = 12 + number % columns * width / columns, bottom + 32 + number // columns * 15
        parts.append(f'<rect x="{x:.0f}" y="{y - 7:.0f}" width="10" height="3" fill="{COLORS[number % len(COLORS)]}"/>')
        more = f", {len(data) - len(entries)} more" if number == len(entries) - 1 < len(data) - 1 else ""
        parts.append(text(x + 15, y, name + more, 10 if columns == 2 else 9))
    return parts


def draw(dashboard, api, start, end):
    parts = []
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        width, height = place["w"] * UNIT_X - GAP, place["h"] * UNIT_Y - GAP
        data = list(series(api, panel, start, end))
        is_stat = panel["type"] == "stat"
        seconds = end - start
        inner = draw_stat(panel, data, width, height) if is_stat else draw_lines(panel, data, width, height, seconds)
        x, y = place["x"] * UNIT_X + GAP, place["y"] * UNIT_Y + GAP
        parts += [
            f'<g transform="translate({x},{y})">',
            f'<rect width="{width}" height="{height}" rx="2" fill="#181b1f" stroke="#25282d"/>',
            text(10, 20, panel["title"], 13, "#ccccdc", weight=500),
            *inner,
            "</g>",
        ]
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    width, height = 24 * UNIT_X + GAP, bottom * UNIT_Y + GAP
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
            ' font-family="system-ui, sans-serif" role="img" aria-label="The panels of the dashboard">',
            f'<rect width="{width}" height="{height}" fill="#111217"/>',
            *parts,
            "</svg>\n",
        ]
    )


def main(demo, program):
    with tempfile.TemporaryDirectory() as folder:
        folder, processes = Path(folder), []
        try:
            process, variables = start_demo(demo, folder)
            processes.append(process)
            log = (Path(variables["KUBECONFIG"]).parent / "operator.log").read_text()
            target = re.search(r"metrics and probes on http://(127\S+:\d+)", log)[1]
            process, api = start_prometheus(program, folder, target)
            processes.append(process)
            start = time.time()
            add_peerings(variables)
            picture = draw(json.loads(DASHBOARD.read_text()), api, start, time.time())
            (ROOT / "docs/pictures/dashboard.svg").write_text(picture)
        finally:
            for process in processes:
                process.send_signal(signal.SIGINT)
                process.wait()


main(*sys.argv[1:])
