"""The queries of rules and dashboards: which metrics, labels and values each names, and whether
there are such. Must not evaluate one, nor start what could."""

import re

OF_EVERY_TARGET = {"job", "instance"}
# What Grafana replaces before it asks.
VARIABLES = {"$__rate_interval": "1m", "$job": "gridcast", "$instance": ".*"}

SELECTOR = re.compile(r"\b(gridcast_\w+|process_\w+|up)\b(?:\s*\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")


class Known:
    """What a server has: the values of each label of each metric."""

    def __init__(self, series):
        self.metrics = {}
        for labels in series:
            of_metric = self.metrics.setdefault(labels["__name__"], {})
            for label, value in labels.items():
                of_metric.setdefault(label, set()).add(value)

    def faults(self, where, expression):
        """What is named in an expression and is not there."""
        usable = set(OF_EVERY_TARGET)
        for metric, matchers in SELECTOR.findall(expression):
            labels = self.metrics.get(metric)
            if labels is None:
                yield f"{where}: there is no metric {metric}"
                continue
            usable |= set(labels)
            for label, operator, value in MATCHER.findall(matchers):
                yield from self._of_matcher(where, metric, (label, operator, value))
        for names in GROUPING.findall(expression):
            unknown = {name.strip() for name in names.split(",")} - usable
            yield from (f"{where}: no metric here has a label {name}" for name in sorted(unknown))

    def _of_matcher(self, where, metric, matcher):
        label, operator, value = matcher
        if label not in self.metrics[metric]:
            yield f"{where}: {metric} has no label {label}"
        elif label not in OF_EVERY_TARGET:
            words = value.split("|") if "~" in operator else [value]
            unknown = set(words) - self.metrics[metric][label]
            yield from (f"{where}: {metric} has no {label}=\"{word}\"" for word in sorted(unknown))


def of_dashboard(dashboard):
    """Title, expression and legend of each query, as Grafana would send it. What is shown only
    where it is more than 0 is asked for without that bound."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], filled(target["expr"]), target["legendFormat"]
    for annotation in dashboard["annotations"]["list"]:
        yield annotation["name"], filled(annotation["expr"]), ""


def filled(expression):
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression.removesuffix(" > 0")
