# What a run leaves, and the report of it.


def final_outputs():
    """What a complete run leaves for its readers; without a held-out stage, measurements."""
    measured = [
        f"{RESULTS}/observations.csv",
        *([] if config["observations"] else [f"{RESULTS}/costs.csv"]),
        *(f"{RESULTS}/figures/{name}.png" for name in FIGURES),
    ]
    if HELD_OUT is None:
        return [*measured, f"{RESULTS}/tables/seed_noise.csv"]
    return [*measured, f"{RESULTS}/plan/plan.csv", f"{RESULTS}/plan/planner.html", *law_outputs()]


def law_outputs():
    """Everything that says how far the laws can be trusted."""
    names = ["scores", "score_intervals", "coverage", "comparison", "cross_validation"]
    names += ["identifiability", "kappa_bands", "anchor_sweep", "seed_noise"]
    return [
        f"{RESULTS}/anchors.csv",
        *fits(),
        *(f"{RESULTS}/tables/{name}.csv" for name in names),
        *(f"{RESULTS}/figures/{name}.png" for name in LAW_FIGURES),
    ]


def write_report():
    """Snakemake's own report beside the results, once everything it shows exists."""
    if not all(Path(path).exists() for path in final_outputs()):
        return
    target = Path(RESULTS) / "report.html"
    with tempfile.TemporaryDirectory() as folder:
        merged = Path(folder) / "config.json"
        merged.write_text(AS_GIVEN)
        page = Path(RESULTS) / ".report.html"
        command = [sys.executable, "-m", "snakemake", "--nolock", "--quiet", "--report", str(page)]
        command += ["--snakefile", workflow.main_snakefile, "--configfile", str(merged)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            page.unlink(missing_ok=True)
            print(f"report not written: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
            return
        os.replace(page, target)
    print(f"report: {target}", file=sys.stderr)
