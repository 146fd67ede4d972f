"""Print how far the sweep is; `status.json` says the same to programs."""

import time
from dataclasses import asdict
from pathlib import Path

from ptpp.cost.estimate import cost_estimate
from ptpp.errors import InputError
from ptpp.jobs.files import write_json, write_text
from ptpp.jobs.heartbeat import is_alive, read_heartbeats, read_records
from ptpp.jobs.status import PlannedJob, find_existing, status_text, sweep_status

params, at = snakemake.params, time.time()
results = Path(params.results)
jobs = [PlannedJob(**job) for job in params.jobs]
try:
    costs = cost_estimate(params.config)
except InputError:  # a finished table: nothing is trained
    costs = None
status = sweep_status(
    jobs,
    find_existing(path for job in jobs for path in job.outputs),
    read_records(results / "logs"),
    [beat | {"live": is_alive(beat, at)} for beat in read_heartbeats(results)],
    costs,
    at,
)
text = status_text(status, results / "logs")
print(text, end="")
write_text(snakemake.log[0], text)
record = asdict(status) | {"table": status.table.to_dict("records"), "at": at}
write_json(results / "status.json", record)
