"""Registry and circuit against a model: any order of marks, holds, trials, late verdicts and leaps of the clock."""

import pytest
from conftest import Clock
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from model import Model

from rapidfailover import ProviderConfig, ProviderRegistry
from rapidfailover.circuit import Asker
from rapidfailover.verdicts import PROVIDER, Verdict

NAMES = ("first", "second")
SECONDS = st.sampled_from([0.5, 1.0, 2.0, 29.0, 300.0, 900.0, 3600.0, 90_000.0])
WHO = st.sampled_from(NAMES)


class Against(RuleBasedStateMachine):
    under_way = Bundle("under_way")

    def __init__(self):
        super().__init__()
        self.clock = Clock()
        self.registry = ProviderRegistry(
            {"p": [ProviderConfig(name, f"{name}.example", number) for number, name in enumerate(NAMES)]}, clock=self.clock)
        self.models = {name: Model() for name in NAMES}
        self.enabled = dict.fromkeys(NAMES, True)

    @rule(seconds=SECONDS)
    def time_passes(self, seconds):
        self.clock.tick(seconds)

    @rule(who=WHO, times=st.sampled_from([1, 2, 3, 13]))
    def mark_error(self, who, times):
        for _ in range(times):
            self.registry.mark_error("p", who)
            self.models[who].fault(self.clock())

    @rule(who=WHO)
    def mark_success(self, who):
        self.registry.mark_success("p", who)
        self.models[who].success()

    @rule(who=WHO, seconds=SECONDS)
    def hold(self, who, seconds):
        self.registry.hold("p", who, seconds)
        self.models[who].hold(self.clock(), seconds)

    @rule(who=WHO, on=st.booleans())
    def switch(self, who, on):
        (self.registry.enable if on else self.registry.disable)("p", who)
        self.enabled[who] = on

    @rule(who=WHO)
    def reset(self, who):
        self.registry.reset("p", who)
        self.models[who].reset()

    @rule(target=under_way, lease=SECONDS, early=st.booleans(), seconds=st.sampled_from([0.5, 2.0, 29.0]), question=st.integers(0, 2),
          background=st.booleans())
    def visit(self, lease, early, seconds, question, background):
        asker = Asker(seconds, early, question, background=background)
        lease += 60.0  # so that the deadline leaves each provider more than its time
        visits = self.registry.visits(self.registry.serving("p", "/x"), lambda: lease, asker)
        visit = next(visits, None)
        expected = None
        for who in NAMES:
            ticket = self.models[who].admit(self.clock(), lease, asker) if self.enabled[who] else None
            if ticket:
                expected = who, ticket
                break
        assert (visit and visit.provider.name) == (expected and expected[0])
        return (visits, visit, *expected) if expected else None

    @rule(one=consumes(under_way), verdict=st.sampled_from(["fault", "success", "hold", "limit", "fault and hold", "timeout", "nothing"]), seconds=SECONDS,
          question=st.integers(0, 2))
    def report(self, one, verdict, seconds, question):
        if one is None:
            return
        visits, visit, who, ticket = one
        now, model = self.clock(), self.models[who]
        if verdict == "limit":
            self.registry.report(visit, Verdict(rate_limited=True, fault=PROVIDER, hold=seconds))
            model.limit(now, seconds, ticket)
        elif verdict == "fault and hold":
            self.registry.report(visit, Verdict(fault=PROVIDER, hold=seconds))
            model.hold(now, seconds)
            model.fault(now, ticket)
        elif verdict == "fault":
            self.registry.report(visit, Verdict(fault=PROVIDER))
            model.fault(now, ticket)
        elif verdict == "timeout":
            self.registry.report(visit, Verdict(fault=PROVIDER, given=seconds, question=question))
            model.fault(now, ticket, given=seconds, question=question)
        elif verdict == "hold":
            self.registry.report(visit, Verdict(hold=seconds))
            model.hold(now, seconds)
        elif verdict == "success":
            self.registry.report(visit, Verdict(took=seconds))
            model.success(ticket, seconds, now)
        visits.close()
        model.release(ticket) if ticket[0] == model.age else None

    @invariant()
    def they_agree(self):
        now, seen = self.clock(), self.registry.snapshot()["p"]
        for who, model in self.models.items():
            told = seen[who]
            held = max(0.0, model.hold_until - now) or None
            assert (told["circuit"], told["error_count"], told["hold_until"], told["enabled"]) == (
                model.state(now), model.faults, held, self.enabled[who])
        out = [who for who, model in self.models.items()
               if not self.enabled[who] or model.hold_until > now or model.open > now]
        assert [config.name for config in self.registry.get_available_providers("p")] == [who for who in NAMES if who not in out]


TestRegistryAgainstItsModel = Against.TestCase
TestRegistryAgainstItsModel.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
TestRegistryAgainstItsModel = pytest.mark.slow(TestRegistryAgainstItsModel)
