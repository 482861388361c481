class Hits:
    """Top-k accuracy.

    Args:
        k: how many guesses a sample has
    """

    higher_is_better = True

    def __init__(self, num_classes: int, k: int = 2):
        self.k = min(k, num_classes)
        self.hits = 0
        self.seen = 0

    def update(self, logits, targets):
        best = logits.topk(self.k, dim=1).indices
        self.hits = self.hits + (best == targets[:, None]).any(1).sum()
        self.seen += len(targets)

    def merge(self, other):
        self.hits = self.hits + other.hits
        self.seen += other.seen

    def compute(self):
        return float(self.hits) / self.seen if self.seen else None
