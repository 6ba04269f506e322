"""Where the time of a step goes."""

import time


class Clock:
    """Seconds per phase of a step."""

    def __init__(self) -> None:
        self.start = self.last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[f"time/{name}"], self.last = now - self.last, now

    def metrics(self, tokens: int) -> dict[str, float]:
        step = time.perf_counter() - self.start
        return {**self.laps, "time/step": step, "time/tokens_per_s": tokens / step}
