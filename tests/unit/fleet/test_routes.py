"""The table of routes: whatever order records of several epochs come in, the highest counts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headwater.fleet.records import Route, RouteStatus
from headwater.fleet.routes import RouteTable

routes = st.builds(
    Route,
    agent_id=st.sampled_from(["a", "b", "c"]),
    kind=st.just("K"),
    node_id=st.sampled_from(["n1", "n2"]),
    epoch=st.integers(1, 4),
    status=st.sampled_from(RouteStatus),
)


@given(st.lists(routes, max_size=30))
def test_the_highest_epoch_counts_and_of_equal_ones_the_last(records: list[Route]) -> None:
    """An overtaken node cannot take a route back, and the index by node agrees with the table."""
    table = RouteTable()
    for record in records:
        table.take(record.agent_id, record)
    for agent in {r.agent_id for r in records}:
        own = [r for r in records if r.agent_id == agent]
        top = max(r.epoch for r in own)
        assert table.get(agent) == [r for r in own if r.epoch == top][-1]
    assert sorted(table.all(), key=lambda r: r.agent_id) == table.all()
    by_node = [route for node in sorted(table.nodes()) for route in table.on(node)]
    assert sorted(by_node, key=lambda r: r.agent_id) == table.all()
    assert len(table) == len(table.all())


def test_a_tombstone_forgets() -> None:
    """An agent without a record has no route, and its node loses it."""
    table = RouteTable()
    table.take("a", Route(agent_id="a", kind="K", node_id="n", epoch=3))
    table.take("a", None)
    assert table.get("a") is None and not table.nodes() and not len(table)
    table.take("a", Route(agent_id="a", kind="K", node_id="n", epoch=1))
    assert table.get("a") is not None
