# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node's files say is what another machine can use of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wnodes.virt.surroundings import NOWHERE, Resolver, Surroundings, hosts, locale, resolver, surroundings

STUB = "# managed by systemd-resolved\nnameserver 127.0.0.53\noptions edns0 trust-ad\nsearch example.org\n"
REAL = "nameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch example.org cluster.example.org\n"


def root(tmp_path: Path, **files: str) -> Surroundings:
    for name, text in files.items():
        path = tmp_path / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="latin-1")
    return surroundings(str(tmp_path))


def test_an_empty_machine_gives_nothing(tmp_path: Path) -> None:
    assert surroundings(str(tmp_path)) == NOWHERE


def test_servers_search_and_options_are_read() -> None:
    text = "; old\n# nameserver 192.0.2.7\nnameserver 192.0.2.1 # first\ndomain a.org\nsearch b.org .\n"
    assert resolver(text + "options ndots:2 trust-ad\n") == Resolver(("192.0.2.1",), ("b.org",), ("ndots:2",))
    assert resolver("nameserver\nnameserver ::1\nnameserver fe80::1%eth0\n").servers == ("fe80::1%eth0",)


@pytest.mark.parametrize("place", ["run__systemd__resolve__resolv.conf", "run__NetworkManager__no-stub-resolv.conf"])
def test_behind_a_resolver_of_the_node_its_own_servers_are_found(tmp_path: Path, place: str) -> None:
    found = root(tmp_path, **{"etc__resolv.conf": STUB, place: REAL})
    assert found.resolver == Resolver(("192.0.2.53", "2001:db8::53"), ("example.org", "cluster.example.org"))


def test_a_resolver_of_the_node_that_tells_no_servers_leaves_the_domains(tmp_path: Path) -> None:
    assert root(tmp_path, **{"etc__resolv.conf": STUB}).resolver == Resolver((), ("example.org",), ("edns0",))


def test_hosts_that_are_no_loopback_are_kept() -> None:
    text = """127.0.0.1 localhost
127.0.1.1\thv1.example.org hv1
::1 localhost ip6-localhost
10.0.0.1\thead.example.org  head # the head
#10.0.0.9 gone
10.0.0.8
ff02::1 ip6-allnodes
"""
    assert hosts(text) == ("10.0.0.1 head.example.org head", "ff02::1 ip6-allnodes")


@given(st.text())
def test_no_text_breaks_a_reader(text: str) -> None:
    assert all("\n" not in line for line in hosts(text) + locale(text))
    resolver(text)


def test_the_zone_is_known_by_its_link_or_by_its_name(tmp_path: Path) -> None:
    rules = tmp_path / "usr/share/zoneinfo/Europe/Berlin"
    rules.parent.mkdir(parents=True)
    rules.write_bytes(b"TZif2\0\xff")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/localtime").symlink_to("/usr/share/zoneinfo/Europe/Berlin")
    found = surroundings(str(tmp_path))
    assert (found.zone, found.zone_data) == ("Europe/Berlin", "TZif2\0\xff")
    (tmp_path / "etc/localtime").unlink()
    found = root(tmp_path, etc__localtime="TZif3", etc__timezone="Asia/Tokyo\n")
    assert (found.zone, found.zone_data) == ("Asia/Tokyo", "TZif3")


@pytest.mark.parametrize(("rules", "name"), [("no rules", "Asia/Tokyo"), ("TZif", "../../etc/shadow"), ("TZif", "")])
def test_a_zone_that_is_none_is_left_out(tmp_path: Path, rules: str, name: str) -> None:
    assert root(tmp_path, etc__localtime=rules, etc__timezone=name).zone == ""


@pytest.mark.parametrize("place", ["etc__default__locale", "etc__locale.conf"])
def test_the_locale_is_read_with_its_language_first(tmp_path: Path, place: str) -> None:
    text = "# of the site\nLC_TIME='en_DK.UTF-8'\nLANG=\"de_DE.UTF-8\"\nPATH=/tmp\nLC_ALL=$(id)\n"
    assert root(tmp_path, **{place: text}).locale == ("LANG=de_DE.UTF-8", "LC_TIME=en_DK.UTF-8")
