#!/usr/bin/env bash
# Draws the pictures of the documentation into docs/pictures:
#
#   benchmark-*.svg   the benchmark in docs/performance.md
#   demo.svg          a recording of `make demo`, which has to be built
#   dashboard.svg     the panels of the dashboard, with data of a run; takes four minutes
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PATH=$(tests/python/venv.sh)/bin:$PATH
mkdir -p docs/pictures
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python tests/docs/plots.py

# The recorder ends when its standard input does. The demo takes about 20 seconds.
termtosvg-ng record "$work/demo.cast" --screen-geometry 122x36 \
    --command "bash -c 'echo \"\$ make demo\"; exec target/debug/examples/demo'" < <(sleep 120 2>/dev/null) >&2
python tests/docs/pauses.py <"$work/demo.cast" >"$work/paused.cast"
termtosvg-ng render "$work/paused.cast" docs/pictures/demo.svg --loop-delay 8000 --template window_frame >&2

prometheus=$(tests/control-plane/build.sh prometheus)/prometheus
python tests/docs/dashboard.py target/debug/examples/demo "$prometheus"
