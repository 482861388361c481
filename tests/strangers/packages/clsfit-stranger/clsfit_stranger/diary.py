from clsfit import hookimpl


class Diary:
    """Keeps a diary of a run.

    Args:
        every: steps between two entries
    """

    def __init__(self, every: int = 3):
        self.every = every
        self.entries: list[str] = []
        self.largest_gradient = 0.0

    @hookimpl
    def on_fit_start(self, run):
        run.say(f"diary: {sum(p.numel() for p in run.parameters)} parameters")

    @hookimpl
    def on_gradients(self, run):
        self.largest_gradient = max([self.largest_gradient, *(float(p.grad.abs().max()) for p in run.parameters)])

    @hookimpl
    def on_step_end(self, run):
        if run.step % self.every == 0:
            self.entries.append(f"step {run.step}: lr {run.lr}, largest gradient {self.largest_gradient}")

    @hookimpl
    def on_epoch_end(self, run):
        self.entries.append(f"epoch {run.epoch}: {run.scores['val/loss']}")

    @hookimpl
    def on_fit_end(self, run):
        (run.directory.path / "diary.txt").write_text("".join(f"{line}\n" for line in self.entries))

    def state_dict(self):
        return {"entries": self.entries, "largest_gradient": self.largest_gradient}

    def load_state_dict(self, state):
        self.entries, self.largest_gradient = state["entries"], state["largest_gradient"]
