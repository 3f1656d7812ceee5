"""Werkzeug's map of rules, with matching and building of our own beneath it."""

from __future__ import annotations

import functools
import typing as t

from werkzeug.routing import Map as WerkzeugMap
from werkzeug.routing import Rule, RuleFactory

from .build import Url, builder
from .match import Matcher


class Map(WerkzeugMap):
    """Werkzeug's map: its rules, converters, adapters and options.

    Attributes:
        matcher: What finds the rules, for adapters too.
    """

    def __init__(self, rules: t.Iterable[RuleFactory] | None = None, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(None, *args, **kwargs)
        self.matcher = Matcher(self, self._matcher.merge_slashes)
        self._matcher: t.Any = self.matcher
        for rulefactory in rules or ():
            self.add(rulefactory)

    def add(self, rulefactory: RuleFactory) -> None:
        """Add a rule, or all those of a factory."""
        super().add(_WithOurBuilder(rulefactory))

    def build_path(
        self, endpoint: str, values: t.Mapping[str, t.Any], method: str | None, default_method: str
    ) -> str | None:
        """Return the path for an endpoint on the default subdomain.

        None if an adapter is needed: there is no such URL, or it has to have a host.

        Args:
            values: Of the rule's variables and the query; None counts as not given.
            method: Which the rule has to take; None for *default_method* if a rule
                takes it, else any.
        """
        if self._remap:
            self.update()
        for value in values.values():
            if value is None:
                values = {name: value for name, value in values.items() if value is not None}
                break
        rules = self._rules_by_endpoint.get(endpoint, ())
        for wanted in (default_method, None) if method is None else (method,):
            for rule in rules:
                url = rule._build_unknown
                if type(url) is Url:
                    built = url.build_if_suitable(values, wanted)
                else:
                    built = rule.build(values) if rule.suitable_for(values, wanted) else None
                if built is not None:
                    domain, path = built
                    return None if rule.websocket or domain != (self.default_subdomain or "") else path
        return None


class _WithOurBuilder(RuleFactory):
    """The rules of a factory, to be bound with a `Url` that builds theirs."""

    def __init__(self, rules: RuleFactory) -> None:
        self.rules = rules

    def get_rules(self, url_map: WerkzeugMap) -> t.Iterator[Rule]:
        for rule in self.rules.get_rules(url_map):
            kind = type(rule)
            if (kind._compile_builder, kind.build, kind.suitable_for) == _STOCK:
                # While the rule is bound, which the caller does.
                rule._compile_builder = functools.partial(builder, rule)  # type: ignore[method-assign]
                yield rule
                del rule._compile_builder
            else:
                yield rule


_STOCK = Rule._compile_builder, Rule.build, Rule.suitable_for
