# What a run leaves for its readers: files in groups of a figure or a table, and all of them.

# Figures by kind: name -> label in the report.
FIGURES = {
    "sweep": {
        "pretraining": "pre-training curves",
        "adaptation": "target loss against ATPP",
        "forgetting": "forgetting against replay",
    },
    "laws": {
        "forecast": "forecast and measured",
        "calibration": "errors of every held-out cell",
        "residuals": "errors by stage",
        "residuals_by_input": "errors against every input",
        "law_comparison": "laws compared, with intervals",
        "profile": "profile of every parameter",
        "anchor_sweep": "error against the number of anchors",
    },
    "plan": {"plan": "predicted loss and the plan"},
}
if not (EXPERIMENT.is_trained and TRAINED):
    del FIGURES["sweep"]["pretraining"]
if not BASE_DOMAINS:
    del FIGURES["sweep"]["forgetting"]

# A front trades the target's loss for forgetting only where forgetting is limited.
FORGETTING_LIMITS = [
    config["plan"]["forgetting"][domain]
    for domain in BASE_DOMAINS
    if config["plan"]["forgetting"].get(domain) is not None
]
if FORGETTING_LIMITS:
    FIGURES["plan"]["pareto"] = "the Pareto front, drawn"
REPORT_PARTS = ["page.html", "page.css", "page.js"]


def figure_files(kind, category):
    """The outputs of a kind of figures: name.png, shown in the report, and name.pdf."""
    files = {}
    for name, label in FIGURES[kind].items():
        stem = f"{RESULTS}/figures/{name}"
        shown = {"caption": f"../report/{name}.rst", "labels": {"what": label}}
        files[name] = report(f"{stem}.png", category=category, **shown)
        files[f"{name}_pdf"] = f"{stem}.pdf"
    return files


def table_files(name, label, category, caption=None, folder="tables"):
    """The outputs of one table: name.csv, shown in the report, name.md and name.tex."""
    stem = f"{RESULTS}/{folder}/{name}"
    caption = caption or (name if folder == "tables" else f"{folder}_{name}")
    shown = {"caption": f"../report/{caption}.rst", "labels": {"what": label}}
    return {
        name: report(f"{stem}.csv", category=category, **shown),
        f"{name}_md": f"{stem}.md",
        f"{name}_tex": f"{stem}.tex",
    }


def final_outputs():
    """What a complete run leaves; without a held-out stage, measurements."""
    measured = [
        f"{RESULTS}/observations.csv",
        f"{RESULTS}/tables/seed_noise.csv",
        *([f"{RESULTS}/costs.csv"] if EXPERIMENT.is_trained else []),
        *figure_paths("sweep"),
    ]
    if HELD_OUT is None:
        return measured
    plans = [f"{RESULTS}/plan/plan.csv", f"{RESULTS}/plan/planner.html", *figure_paths("plan")]
    applied = [f"{RESULTS}/applied/comparison.csv"] if PLANNED else []
    return [*measured, *plans, *applied, *law_outputs()]


def law_outputs():
    """Everything that says how far the laws can be trusted."""
    names = ["scores", "score_intervals", "coverage", "comparison", "cross_validation"]
    names += ["identifiability", "kappa_bands", "anchor_sweep"]
    return [
        f"{RESULTS}/anchors.csv",
        *fits(),
        *(f"{RESULTS}/tables/{name}.csv" for name in names),
        *figure_paths("laws"),
    ]


def figure_paths(kind):
    return [f"{RESULTS}/figures/{name}.png" for name in FIGURES[kind]]
