"""Gather what every training run took."""

from ptpp import jobs

with jobs.logged(snakemake.log[0]):
    import pandas as pd

    from ptpp.tables import write_csv

    costs = pd.concat([pd.read_csv(path) for path in snakemake.input], ignore_index=True)
    write_csv(costs, snakemake.output[0])
