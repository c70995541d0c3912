# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules and dashboard speak of what the services really tell: names, labels and the values of labels."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.promql import Found, parse
from tests.releases import MANIFEST, TAG, release
from tests.unit.plugins.module_utils.bait.bait_fixture import Site
from tests.unit.roles.runtime.files.wnodes_services.conftest import AppClient
from wnodes.bait.hooksocket import NONE as UNANSWERED
from wnodes.bait.hooksocket import RUN, STOPPED
from wnodes.directory.base import Heartbeat
from wnodes.directory.sqlite import SqliteDirectory
from wnodes.engine.pulse import Pulse
from wnodes.hypervisor.api import HypervisorStatus, NodeImage
from wnodes.hypervisor.catalogue import FAILED, READY, REFUSED, WAITING
from wnodes.hypervisor.fake import FakeHypervisor
from wnodes.hypervisor.maintenance import LeaseFigures
from wnodes.model.clock import FakeClock
from wnodes.model.lease import NetworkSettings
from wnodes.model.phases import PHASES
from wnodes.model.resources import Resources
from wnodes.model.states import JOB_OUTCOMES, JobState, VmState
from wnodes.model.vm import Move, VmRequest
from wnodes.nameserver.config import HostNameRange, HostNamesConfig, NameserverConfig
from wnodes_services import bait_main, hypervisor_main, nameserver_main
from wnodes_services.cli.show import ORIGINS
from wnodes_services.metrics import NONE, JobMetrics, VmMetrics
from wnodes_services.server import Peer

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "roles" / "monitoring" / "files"
DASHBOARD: dict[str, Any] = json.loads((FILES / "grafana" / "wnodes.json").read_text())
RULES = [
    rule
    for group in yaml.safe_load((FILES / "prometheus" / "wnodes.rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
CASES = yaml.safe_load((ROOT / "tests" / "promtool" / "wnodes.rules.test.yml").read_text())
DOC = (ROOT / "docs" / "monitoring.md").read_text()

#: what Prometheus puts on everything that the targets of role monitoring give
TARGET = {"job", "instance", "service"}
ANSWERS = (RUN, STOPPED, UNANSWERED)
#: the values that a label of ours may have
VALUES = {
    "answer": set(ANSWERS),
    "job": {"wnodes"},
    "outcome": {state.value for state in JOB_OUTCOMES} | {"used", "unused", "cancelled", "broken"},
    "path": {*ORIGINS, NONE},
    "phase": set(PHASES),
    "state": {*(s.value for s in JobState), *(s.value for s in VmState), READY, WAITING, REFUSED, FAILED},
}


def scraped(app: Any) -> dict[str, set[str]]:
    """Return the labels of each metric at ``/metrics``."""
    text = AppClient(app, Peer()).ask("GET", "/metrics")[1].decode()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def bait() -> Any:
    metrics = JobMetrics("hv1")
    site = Site(observe=metrics.observe)
    number, _answer = site.dispatch()
    site.run()
    site.lrms.finish(number)
    site.run()
    site.bait.journey.faults.failed(TAG, "no init found")
    told = {**site.bait.status(), "pool": [{"tag": TAG, "flavour": "1x512", "target": 2, "waiting": 1, "coming": 1}]}
    site.bait.status = lambda: told  # type: ignore[method-assign]
    pulse = Pulse()
    pulse.watch("job", site.bait.reconciler.vitals)
    return bait_main.application(site.bait, metrics, pulse, lambda: dict.fromkeys(ANSWERS, 1))


def hypervisor() -> Any:
    metrics, fake = VmMetrics("hv1"), FakeHypervisor()
    vm = fake.create(VmRequest("r1", "alice", TAG, Resources(1, 512)))
    states = (VmState.PLANNED, VmState.IMAGE, VmState.STARTING, VmState.PERSONALISING, VmState.READY)
    metrics.observe(replace(vm, history=tuple(Move(state.value, 0.0) for state in states), path="cold"))
    fake.create(VmRequest("r2", "alice", TAG, Resources(1, 512)))
    metrics.observe(fake.destroy("r2"))
    fake.status = lambda: HypervisorStatus(True, images=(NodeImage(TAG, "d" * 64, 1, READY),))  # type: ignore[method-assign]
    pulse = Pulse()
    pulse.loop("upkeep")
    leases = LeaseFigures(1, 90.0)
    return hypervisor_main.application(fake, lambda: {"written": 1}, metrics, pulse=pulse, leases=lambda: leases)


def nameserver() -> Any:
    config = NameserverConfig(HostNamesConfig(NetworkSettings(24), (HostNameRange("vm-", 1, "10.0.0.1", 2),)))
    clock = FakeClock()
    directory = SqliteDirectory(":memory:", clock)
    directory.set_tags((TAG,), release(replace(MANIFEST, expires=2_000_000)))
    directory.beat(Heartbeat("bait", "hv1"))
    return nameserver_main.application(directory, config, clock)


@pytest.fixture(scope="module")
def told() -> dict[str, set[str]]:
    """Return what the three services tell when each has something to tell."""
    found: dict[str, set[str]] = {"up": set()}
    for app in (bait(), hypervisor(), nameserver()):
        for metric, labels in scraped(app).items():
            found.setdefault(metric, set()).update(labels)
    return found


def plain(expression: str) -> str:
    """Return an expression of the dashboard with its variables replaced, as Grafana does."""
    return expression.replace("$__rate_interval", "5m").replace("$node", ".*").replace("$image", ".*")


def panels() -> Iterator[dict[str, Any]]:
    yield from (panel for panel in DASHBOARD["panels"] if panel["type"] != "row")


EXPRESSIONS = [rule["expr"] for rule in RULES]
EXPRESSIONS += [plain(target["expr"]) for panel in panels() for target in panel["targets"]]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_speak_of_what_is_told(expression: str, told: dict[str, set[str]]) -> None:
    found: Found = parse(expression)
    for selector in found.selectors:
        assert selector.metric in told
        assert set(selector.matchers) - told[selector.metric] - TARGET == set(), selector
        for label, (operator, value) in selector.matchers.items():
            values = value.split("|") if operator in ("=~", "!~") else [value]
            assert value == ".*" or set(values) - VALUES[label] == set(), selector
    for labels, selectors in found.groupings:
        for selector in selectors:
            assert set(labels) - told[selector.metric] - TARGET == set(), labels


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_alert_is_for_people_and_has_a_case_and_a_place_in_the_documentation(
    rule: dict[str, Any], told: dict[str, set[str]]
) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    text = rule["annotations"]["summary"] + rule["annotations"]["description"]
    known = {label for selector in parse(rule["expr"]).selectors for label in told[selector.metric]} | TARGET
    assert set(re.findall(r"\$labels\.(\w+)", text)) - known == set()
    alerts = {case["alertname"] for test in CASES["tests"] for case in test["alert_rule_test"]}
    assert rule["alert"] in alerts
    assert f"`{rule['alert']}`" in DOC


def test_panels_are_there_once_and_in_their_places() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_panels_ask_the_data_source_that_a_reader_chooses() -> None:
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    for variable in (variables["node"], variables["image"]):
        assert variable["datasource"]["uid"] == "${datasource}"
    for panel in panels():
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["targets"]
        assert all(target["expr"] for target in panel["targets"])
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_variables_are_filled_from_labels_that_are_told(told: dict[str, set[str]]) -> None:
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
            assert label in told[metric]


def test_every_metric_of_ours_is_documented_with_its_labels_and_nothing_else_is(told: dict[str, set[str]]) -> None:
    rows = dict(re.findall(r"^\| `(wnodes_\w+)` \|([^|]*)\|", DOC, re.MULTILINE))
    documented = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows.items()}
    real: dict[str, set[str]] = {}
    for name, labels in told.items():
        if name.startswith("wnodes_"):
            family = re.sub(r"_(bucket|sum|count)$", "", name)
            real.setdefault(family, set()).update(labels - {"le"})
    assert documented == real


def test_every_phase_is_documented() -> None:
    assert [phase for phase in PHASES if f"| `{phase}` |" not in DOC] == []


@pytest.mark.parametrize(
    "wrong",
    [
        "", "a b", "rate(a)", "sum by (x) (a", "a[5m]", "a{x=1}", "a{x>\"1\"}", "nonsense(a)", "1 and a", "a ==",
        "histogram_quantile(a, 0.5)", "sum(1)", "\"a\"", "a{x=\"1\"", "a > on (x b",
    ],
)  # fmt: skip
def test_what_is_no_expression_is_noticed(wrong: str) -> None:
    with pytest.raises(ValueError):
        parse(wrong)


def test_targets_are_where_the_services_listen() -> None:
    monitoring = yaml.safe_load((ROOT / "roles" / "monitoring" / "vars" / "main.yml").read_text())
    for item in monitoring["__monitoring_services"]:
        config = (ROOT / "roles" / item["service"] / "vars" / "main.yml").read_text()
        assert f"runtime_metrics_address ~ ':{item['port']}'" in config
