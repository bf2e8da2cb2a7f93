"""Prepares a recording (asciicast v2, from standard input to standard output) for reading: headings are yellow, a pause
ends each part of the demo, and no other pause is longer than two seconds."""

import json
import sys

HEADING = "»"
MAX_PAUSE, PAUSE_AT_HEADING, PAUSE_AFTER_EVENTS = 2.0, 1.5, 5.0

header, *events = map(json.loads, sys.stdin)
print(json.dumps(header))
shown, last = 0.0, 0.0
for time, kind, text in events:
    # A chunk of output may contain the next heading.
    before, heading, after = text.partition(f"\r\n{HEADING}")
    shown, last = shown + min(time - last, MAX_PAUSE), time
    if before:
        print(json.dumps([round(shown, 3), kind, before]))
    if heading:
        shown += PAUSE_AFTER_EVENTS if after.startswith(" kubectl delete") else PAUSE_AT_HEADING
        title, end, rest = after.partition("\r\n")
        shown_heading = f"\r\n\x1b[33m{HEADING}{title}\x1b[0m{end}{rest}"
        print(json.dumps([round(shown, 3), kind, shown_heading]))
