"""A command-line program of two commands that asks its plugins what they offer: the floor of such programs."""

from __future__ import annotations

import pluggy
import typer

specification, implementation = pluggy.HookspecMarker("two"), pluggy.HookimplMarker("two")
app = typer.Typer(help="Trains and applies.")


class Hooks:
    @specification
    def offers(self) -> list[str]:
        """Names of what a plugin offers."""
        raise NotImplementedError


class Bundled:
    @implementation
    def offers(self) -> list[str]:
        return ["one", "two"]


plugins = pluggy.PluginManager("two")
plugins.add_hookspecs(Hooks)
plugins.load_setuptools_entrypoints("two")
plugins.register(Bundled())


@app.command()
def train(data: str, epochs: int = 20, loss: str = "one") -> None:
    """Trains on DATA."""
    print(data, epochs, loss, plugins.hook.offers())


@app.command()
def predict(model: str, picture: str) -> None:
    """Applies MODEL to PICTURE."""
    print(model, picture)


if __name__ == "__main__":
    app()
