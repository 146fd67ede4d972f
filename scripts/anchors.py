"""Choose the anchors from the design and collect their measurements."""

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    from ptpp.table.anchors import choose_anchors, grid_of, measured_cells, select
    from ptpp.table.observations import gather_observations, write_observations

    params = snakemake.params
    frame = gather_observations(snakemake.input, held_out=params.held_out, target=params.target)
    grid = params.grid or grid_of(frame, params.held_out)
    cells = choose_anchors(
        grid,
        params.number,
        params.seed,
        measured=None if params.grid else measured_cells(frame, params.held_out),
    )
    write_observations(select(frame, cells, params.held_out), snakemake.output[0])
    log.info("%d anchors at PTPP %g", len(cells), params.held_out)
