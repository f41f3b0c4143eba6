"""Whether a parser of Prometheus' own takes both texts of /metrics, and whether they tell the same.

Usage: texts.py OPENMETRICS PROMETHEUS, two files. Prints each fault on a line; exit code 1 if there
is one. Needs prometheus_client. Must not ask an engine: scripts/observe does."""

import sys
from pathlib import Path

from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics


def main():
    texts = [Path(name).read_text() for name in sys.argv[1:3]]
    try:
        open_families = list(openmetrics.text_string_to_metric_families(texts[0]))
        families = list(parser.text_string_to_metric_families(texts[1]))
    except ValueError as error:
        sys.exit(f"not what the parser expects: {error}")
    found = [*faults("OpenMetrics", open_families), *faults("Prometheus", families),
             *differences(open_families, families)]
    print("\n".join(found))
    sys.exit(1 if found else 0)


def faults(form, families):
    """Of each family by itself."""
    for family in families:
        name = f"{form}: {family.name}"
        if family.type not in ("counter", "gauge", "histogram"):
            yield f"{name} is of type {family.type}"
        if not family.documentation.endswith(".") or family.documentation.endswith(".."):
            yield f"{name}: the help text is no sentence: {family.documentation!r}"
        if family.unit and not family.name.endswith(f"_{family.unit}"):
            yield f"{name} does not end in its unit {family.unit}"
        if not family.name.startswith(("gridcast_", "process_")):
            yield f"{name} has a name of others"
        suffixes = {"counter": ("_total",), "gauge": ("",),
                    "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ())
        strange = {sample.name for sample in family.samples} - {
            family.name + suffix for suffix in suffixes}
        yield from (f"{name} has a sample {sample}" for sample in sorted(strange))


def differences(open_families, families):
    ours, theirs = ({(sample.name, tuple(sorted(sample.labels.items())))
                     for family in some for sample in family.samples}
                    for some in (open_families, families))
    for sample in sorted(ours ^ theirs):
        yield f"only in {'OpenMetrics' if sample in ours else 'the text of Prometheus'}: {sample}"


if __name__ == "__main__":
    main()
