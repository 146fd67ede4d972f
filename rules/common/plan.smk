# Plans and the planner's page.


def plan_headline():
    """The law and protocol whose plan is drawn."""
    return {key: config["plan"][key] for key in ("law", "protocol")}


def headline_fits(suffix):
    """Files beside the fits of the law whose plan is drawn, one per protocol."""
    law = plan_headline()["law"]
    return [f"{RESULTS}/fits/{law}.{p}.{TARGET}.{suffix}" for p in config["laws"]["protocols"]]


def planned_fits(suffix):
    """A plan knows no checkpoint's base loss, which the law informed by it needs."""
    return fits(suffix, without=["checkpoint_informed"])


def plan_request():
    elsewhere = ("law", "protocol", "from_scratch")
    return {k: v for k, v in config["plan"].items() if k not in elsewhere}


def plan_fits(wildcards):
    """The headline's target fit, then a forgetting fit for every base language."""
    headline = plan_headline()
    return [
        f"{RESULTS}/fits/{law}.{headline['protocol']}.{domain}.json"
        for law, domain in FITS
        if law == headline["law"] or domain != TARGET
    ]


def page_parts():
    """What the interactive planner is made of beside Python, whose changes no digest sees."""
    names = ["page.html", "page.css", "search.js", "draw.js", "page.js"]
    folder = os.path.relpath(BASE / "ptpp" / "report" / "planner")  # a moved folder reruns nothing
    return [f"{folder}/{name}" for name in names]
