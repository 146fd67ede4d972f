# Plans and the planner's page.


def plan_headline():
    """The law and protocol whose plan is drawn."""
    return {key: config["plan"][key] for key in ("law", "protocol")}


def headline_fits(suffix):
    """Files beside the fits of the law whose plan is drawn, one per protocol."""
    return law_fits(config["plan"]["law"], suffix)


def plan_request():
    """The plan's model and limits, as `ptpp.planning.PlanRequest`."""
    elsewhere = ("law", "protocol", "from_scratch")
    return {key: value for key, value in config["plan"].items() if key not in elsewhere}


def plan_fits(wildcards):
    """The headline's target fit, then a forgetting fit for every base domain."""
    protocol = config["plan"]["protocol"]
    pairs = [(config["plan"]["law"], TARGET)]
    pairs += [(law, domain) for law in EXPERIMENT.laws.base for domain in LAWS.get(law, [])]
    return [f"{RESULTS}/fits/{law}.{protocol}.{domain}.json" for law, domain in pairs]


def page_parts():
    """Files of the interactive planner beside Python, whose changes no digest sees."""
    names = ["page.html", "page.css", "search.js", "draw.js", "page.js"]
    return [source_path("ptpp", "report", "planner", name) for name in names]


def plan_table(name, label, caption=None):
    """The outputs of one table of the plan."""
    return table_files(name, label, "4 Plan", caption or f"plan_{name}", "plan")
