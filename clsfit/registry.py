"""Which plugins are installed, what they offer, and what a name means."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
from collections.abc import Collection, Iterable
from importlib.metadata import EntryPoint

from clsfit.endings import OWN, refusal
from clsfit.errors import ConfigError, DataError, PluginError, printable
from clsfit.hookspecs import PROJECT
from clsfit.loading import REPEATABLE, Offer, Plugin, describe, load, nearest, one_line

__all__ = ["BUNDLED", "REPEATABLE", "Offer", "Plugin", "Plugins", "nearest", "one_line"]

BUNDLED = "clsfit"
"""The distribution whose names always win."""

_SHOWN = 12


class Plugins:
    """All installed plugins; made by :meth:`discover`."""

    def __init__(self, plugins: Iterable[Plugin]) -> None:
        self.plugins = tuple(plugins)
        bundled = {(o.kind, o.name) for p in self.plugins for o in p.offers if o.distribution == BUNDLED}
        for plugin in self.plugins:
            plugin.offers = tuple(
                dataclasses.replace(o, shadowed=o.distribution != BUNDLED and (o.kind, o.name) in bundled)
                for o in plugin.offers
            )

    @classmethod
    def discover(
        cls,
        *,
        disable: Collection[str] = (),
        may_be_absent: Collection[str] = (),
        bundled_only: bool = False,
        only: Collection[str] | None = None,
        points: Iterable[EntryPoint] | None = None,
    ) -> Plugins:
        """Finds and loads the entry points of the group ``clsfit``, each in isolation.

        Args:
            disable: names of entry points or distributions that are not to be imported.
            may_be_absent: those of them that come from a standing setting, such as the environment of
                many machines, some of which do not have the plugin.
            bundled_only: whether plugins of other distributions than clsfit are not to be imported.
            only: names of the entry points to look at; None: all.
            points: entry points instead of the installed ones.

        Raises:
            ConfigError: another name in ``disable`` is no plugin's.
        """
        if points is None:
            points = importlib.metadata.entry_points(group=PROJECT)
        found = sorted(((describe(point), point) for point in points), key=lambda f: (f[0].name, f[0].distribution))
        for name in set(disable) - set(may_be_absent):
            if not any(plugin.answers_to(name) for plugin, _ in found):
                known = [n for plugin, _ in found for n in (plugin.name, plugin.distribution)]
                raise ConfigError(
                    f"no plugin to disable is called {printable(name)!r}",
                    "option --disable-plugin",
                    nearest(name, known) or "see: clsfit plugins list",
                )
        kept = []
        for plugin, point in found:
            if only is not None and plugin.name not in only:
                continue
            stranger = bundled_only and plugin.distribution != BUNDLED
            if stranger or any(plugin.answers_to(name) for name in disable):
                plugin.status = "disabled"
            else:
                load(plugin, point)
            kept.append(plugin)
        return cls(kept)

    @property
    def failed(self) -> tuple[Plugin, ...]:
        """The plugins that could not be loaded."""
        return tuple(plugin for plugin in self.plugins if plugin.status == "failed")

    def warnings(self) -> list[str]:
        """One line for each plugin that failed, with distribution, version and reason."""
        return [f"plugin {plugin} failed to load: {plugin.error}" for plugin in self.failed]

    def offers(self, kind: str) -> list[Offer]:
        """All offers of a kind, sorted by name, shadowed ones included."""
        offers = (offer for plugin in self.plugins for offer in plugin.offers if offer.kind == kind)
        return sorted(offers, key=lambda offer: (offer.name, offer.shadowed, offer.distribution))

    def names(self, kind: str) -> list[str]:
        """The names of a kind that mean something without a provider, sorted."""
        names = [offer.name for offer in self.offers(kind) if not offer.shadowed]
        return sorted(name for name in set(names) if names.count(name) == 1)

    def find(self, kind: str, name: str) -> Offer:
        """What ``name`` means, bare or as ``provider:name`` (a distribution or an entry point).

        Raises:
            ConfigError: nobody offers it, or two strangers do.
            PluginError: the provider that it names is not installed or failed to load.
        """
        provider, prefixed, bare = name.rpartition(":")
        if prefixed:
            return self._find_at(kind, provider, bare)
        found = [offer for offer in self.offers(kind) if offer.name == name and not offer.shadowed]
        if len(found) > 1:
            raise ConfigError(
                f"{kind} {name!r} is offered by two plugins: " + " and ".join(offer.provider for offer in found),
                "",
                f"say which one: {' or '.join(offer.qualified for offer in found)}",
            )
        if not found:
            raise self._unknown(kind, name)
        return found[0]

    def endings(self) -> list[str]:
        """Endings of files that data sets of plugins open, sorted."""
        found = {ending for offer in self.offers("dataset") for ending in offer.component.endings}
        return sorted(ending for ending in found if not ending.endswith(OWN))

    def opener(self, path: str) -> Offer | None:
        """The data set that opens the file at ``path`` by its ending: the longest that fits; a bundled one first.

        Returns:
            None where no plugin does, where the core itself does, and where there is no such file.

        Raises:
            ConfigError: two strangers would open it.
        """
        name = os.path.basename(path).lower()
        if name.endswith(OWN) or not os.path.isfile(path):
            return None
        fitting = [(len(e), o) for o in self.offers("dataset") for e in o.component.endings if name.endswith(e)]
        longest = max((length for length, _ in fitting), default=0)
        found = [offer for length, offer in fitting if length == longest]
        found = [offer for offer in found if offer.distribution == BUNDLED] or found
        if len(found) > 1:
            raise ConfigError(
                f"two plugins open {name[-longest:]} files: " + " and ".join(offer.provider for offer in found),
                printable(path),
                f"say which one: {' or '.join(offer.qualified for offer in found)}, with --data.path",
            )
        return found[0] if found else None

    def refusal(self, path: str) -> DataError:
        """The error for a file at ``path`` that neither the core nor a plugin opens."""
        off = ", ".join(str(plugin) for plugin in self.plugins if plugin.status == "disabled")
        about = [*self.warnings(), f"switched off: {off}" if off else ""]
        return refusal(path, self.endings(), "; ".join(filter(None, about)))

    def short_name(self, offer: Offer) -> str:
        """The bare name where it means this offer, else ``distribution:name``."""
        return offer.name if offer.name in self.names(offer.kind) and not offer.shadowed else offer.qualified

    def _find_at(self, kind: str, provider: str, bare: str) -> Offer:
        asked = [plugin for plugin in self.plugins if plugin.answers_to(provider)]
        found = [o for plugin in asked for o in plugin.offers if o.kind == kind and o.name == bare]
        if len(found) == 1:
            return found[0]
        if found:
            owners = " and ".join(str(plugin) for plugin in asked)
            raise ConfigError(
                f"{kind} '{provider}:{bare}' is offered by two plugins: {owners}", "", "use a distribution"
            )
        wanted = f"{kind} {printable(f'{provider}:{bare}')!r}"
        if not asked:
            known = [n for plugin in self.plugins for n in (plugin.distribution, plugin.name)]
            remedy = nearest(provider, known) or f"install the distribution {printable(provider)!r}"
            raise PluginError(f"{wanted}: no plugin {printable(provider)!r} is installed", "", remedy)
        for plugin in asked:
            if plugin.status == "failed":
                raise PluginError(f"{wanted}: its plugin failed to load", str(plugin), plugin.error)
        if all(plugin.status == "disabled" for plugin in asked):
            raise ConfigError(
                f"{wanted}: plugin {asked[0]} is switched off", "", "switch it on again, or choose another"
            )
        names = [o.name for plugin in asked for o in plugin.offers if o.kind == kind]
        raise ConfigError(
            f"plugin {asked[0]} offers no {kind} {printable(bare)!r}",
            "",
            nearest(bare, names) or (f"it offers: {', '.join(names)}" if names else "see: clsfit plugins list"),
        )

    def _unknown(self, kind: str, name: str) -> ConfigError:
        names = self.names(kind)
        broken = "; ".join(f"{plugin}: {plugin.error}" for plugin in self.failed)
        qualified = [offer.qualified for offer in self.offers(kind) if offer.name == name]
        remedy = f"write {' or '.join(qualified)}" if qualified else nearest(name, names)
        more = f", ... ({len(names)} in all: clsfit plugins list --kind {kind})" if len(names) > _SHOWN else ""
        shown = ", ".join(names[:_SHOWN]) + more
        return ConfigError(
            f"unknown {kind} {printable(name)!r}",
            f"plugins that failed to load: {broken}" if broken else "",
            remedy or (f"choose from: {shown}" if names else "no plugin that is switched on offers any"),
        )
