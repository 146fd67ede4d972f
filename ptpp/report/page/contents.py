"""What the report shows, in reading order: its sections, and the columns of their tables."""

from dataclasses import dataclass

from ptpp.report.page.tables import Column


@dataclass(frozen=True)
class Item:
    """A figure (`figures/<name>.png`) or, with columns, a table. `folded`: shown on one click.

    `errors`: the table of scores, as errors by law and by what a forecast knew.
    """

    title: str
    path: str
    caption: str
    columns: tuple[Column, ...] = ()
    folded: bool = False
    errors: bool = False

    @property
    def name(self) -> str:
        return "errors" if self.errors else self.path.replace("/", "-").partition(".")[0]


@dataclass(frozen=True)
class Section:
    """A section by the part of its address, its heading and items.

    `bare`: the heading where the run has none of the items, if another.
    """

    name: str
    title: str
    items: tuple[Item, ...] = ()
    bare: str = ""


def _figure(name: str, title: str) -> Item:
    return Item(title, f"figures/{name}.png", name)


def _table(
    path: str, title: str, columns: str, caption: str | None = None, folded: bool = False
) -> Item:
    """`columns`: "name=heading:kind", separated by semicolons."""
    parsed = []
    for text in filter(None, map(str.strip, columns.split(";"))):
        name, _, rest = text.partition("=")
        heading, _, kind = (rest or name.replace("_", " ")).rpartition(":")
        parsed.append(
            Column(name, heading, kind) if heading else Column(name, kind, _NAMED.get(name, "text"))
        )
    name = path.rpartition("/")[2].partition(".")[0]
    return Item(title, path, caption or name, tuple(parsed), folded)


# Columns whose values have names for readers, as kinds of `page.tables`.
_NAMED = {"law": "law", "other": "law", "scratch_law": "law", "protocol": "protocol"}
_LABEL = "law; protocol; domain;"
_KNOWN = "law; domain; information=knows; forecast;"
_PLAN = (
    "law; n_params=N:size; replay=replay (%):share; atpp=ATPP:number;"
    "adapt_tokens=tokens:size; flops=FLOPs:power; target_loss=loss:loss;"
    "target_loss_limit=limit:loss; feasible; met=kept (%):share; binding=limited by;"
    "times_largest=× largest:number; extrapolated"
)

SECTIONS = (
    Section("finding", "What was found"),
    Section(
        "forecast",
        "The forecast and what was measured",
        (_figure("forecast", "Loss after adaptation against pre-training"),),
    ),
    Section(
        "laws",
        "Which law, by how much, beside the noise",
        (
            Item("Errors at the held-out stage", "tables/scores.csv", "errors", errors=True),
            _figure("law_comparison", "Laws compared, with intervals"),
            _figure("calibration", "Errors of every held-out cell"),
            _table(
                "tables/scores.csv",
                "Every score",
                _KNOWN + "n_held_out=cells:count; mae_rel=error (%):percent;"
                "calibration_slope=slope:number; huber_log=Huber-on-log:power;"
                "rmse=RMSE:number; mape=MAPE (%):percent; noise_floor=noise (%):percent",
                folded=True,
            ),
            _table(
                "tables/comparison.csv",
                "Which law beats which",
                "protocol; domain; forecast; law; other=than; mae_rel=error (%):percent;"
                "other_mae_rel=its error (%):percent; difference=difference (%):percent;"
                "low=low (%):percent; high=high (%):percent; probability=probability (%):share",
                folded=True,
            ),
        ),
    ),
    Section(
        "sweep",
        "What was measured",
        (
            _figure("adaptation", "Adaptation: target loss"),
            _figure("forgetting", "Forgetting: what replay keeps"),
            _figure("pretraining", "Pre-training"),
            _table(
                "tables/seed_noise.csv",
                "Seed noise of every cell",
                "domain; size; ptpp=PTPP:number; replay=replay:number; atpp=ATPP:number;"
                "seeds=seeds:count; mean_loss=loss:loss; sd=sd:loss;"
                "relative_sd=sd (%):percent",
                folded=True,
            ),
        ),
    ),
    Section(
        "plan",
        "The plan",
        (
            _figure("plan", "Predicted loss and the plan"),
            _figure("pareto", "What more compute and more forgetting buy"),
            _table("plan/robust.csv", "Robust plans by every law", _PLAN, "plan_robust"),
            _table("plan/plan.csv", "Plans of least compute by every law", _PLAN, "plan_table"),
            _table(
                "applied/comparison.csv",
                "The plan, carried out",
                "domain; predicted:loss; lower:loss; upper:loss; measured:loss; inside;"
                "relative_error=error (%):percent; limit:loss; kept=limit kept",
                "applied",
            ),
            _table(
                "tables/plan_regret.csv",
                "Plans checked against measurements",
                "goal; law; protocol; kind; cases=cases:count; declared=declared (%):share;"
                "met=kept (%):share; best_cell=best (%):share; excess_mean=excess (nats):loss;"
                "compute_ratio=compute / best:number; loss_regret=loss above best:loss",
                folded=True,
            ),
            _table(
                "plan/relaxations.csv",
                "What would make a plan feasible",
                "law; n_params=N:size; kind; limit; asked=asked:number; needed=needed:number",
                "plan_relaxations",
            ),
            _table(
                "plan/least_loss.csv",
                "The least loss within the limits",
                "kind;" + _PLAN,
                "plan_least_loss",
                folded=True,
            ),
            _table(
                "plan/front.csv",
                "The Pareto front",
                "law; replay=replay (%):share; atpp=ATPP:number; flops=FLOPs:power;"
                "target_loss=loss:loss; target_loss_low=low:loss; target_loss_high=high:loss;"
                "worst_forgetting=forgetting:loss; extrapolated",
                "plan_front",
                folded=True,
            ),
            _table(
                "plan/next_measurement.csv",
                "The next measurement worth buying",
                "law; n_params=N:size; ptpp=PTPP:number; replay=replay (%):share;"
                "atpp=ATPP:number; flops=FLOPs:power; cut_share=variance cut (%):percent",
                "plan_next_measurement",
                folded=True,
            ),
            _table(
                "plan/break_even.csv",
                "Break-even against training from scratch",
                "law; basis; scratch_law=from scratch by; scratch_tokens=tokens from scratch:size;"
                "adapt_tokens=of adaptation:size; ratio=compute ratio:number;"
                "ratio_with_pretraining=with pre-training:number; extrapolated; note=note:long",
                "plan_break_even",
                folded=True,
            ),
        ),
    ),
    Section(
        "certainty",
        "How sure",
        (
            _table(
                "tables/coverage.csv",
                "Coverage of the 90 % intervals",
                _KNOWN + "n_held_out=cells:count; coverage=coverage (%):share;"
                "coverage_largest=at the largest size (%):share;"
                "mean_width=mean width (%):percent; drawn=drawn from a band",
            ),
            _figure("residuals", "Errors by stage"),
            _figure("anchor_sweep", "How many anchors, and which"),
            _table(
                "tables/kappa_bands.csv",
                "Forecasts that the rows cannot tell apart",
                _LABEL + "parameter; value=value:number; objective=objective:number;"
                "mean_loss=mean forecast:loss; cure=cure:long",
                folded=True,
            ),
            _table(
                "tables/identifiability.csv",
                "What the rows can say about each parameter",
                _LABEL + "parameter; value=value:number; low=low:number; high=high:number;"
                "unit; verdict; words=in words:long",
                folded=True,
            ),
            _table(
                "tables/cross_validation.csv",
                "Cross-validation",
                _LABEL + "left_out; n_held_out=cells:count; mae_rel=error (%):percent;"
                "calibration_slope=slope:number; note=note:long",
                folded=True,
            ),
        ),
    ),
    Section(
        "run",
        "What it cost, how it was made, how to make it again",
        (
            _table(
                "tables/costs.csv",
                "Measured cost of the sweep",
                "size; kind; runs=runs:count; jobs=jobs:count; tokens=tokens:size;"
                "flops=FLOPs:power; device_hours=device-hours:number;"
                "tokens_per_second=tokens/s:count; peak_memory_mib=memory (MiB):count",
            ),
        ),
        bare="How it was made, how to make it again",
    ),
    Section(
        "supplement",
        "Supplement",
        (
            _figure("profile", "Profile of every parameter"),
            _figure("residuals_by_input", "Errors against every input"),
        ),
    ),
)
