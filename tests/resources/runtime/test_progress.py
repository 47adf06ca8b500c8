"""Progress lines: count, rate, time left, not too often."""

from resources.runtime.progress import Progress, duration


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_a_line_says_count_rate_and_time_left():
    clock, lines = Clock(), []
    progress = Progress("captions", 1024, lines.append, clock)

    clock.now += 8.0
    progress.advance(320)

    assert lines == ["captions 320/1,024  40/s  18 s left"]  # 704 left at 40/s is 17.6 s


def test_lines_come_after_two_seconds_then_every_five_and_at_the_end():
    clock, lines = Clock(), []
    progress = Progress("images", 100, lines.append, clock)

    for _ in range(100):
        clock.now += 0.2
        progress.advance()

    assert len(lines) == 5  # after 2, 7, 12, 17 and 20 s
    assert lines[-1] == "images 100/100  5/s  done in 20 s"


def test_a_fast_step_logs_its_end_only():
    lines = []
    progress = Progress("units", 3, lines.append, Clock())

    for _ in range(3):
        progress.advance()

    assert len(lines) == 1
    assert lines[0].startswith("units 3/3")


def test_durations_read_as_people_say_them():
    assert [duration(s) for s in (0.2, 59.4, 59.6, 3_599.9, 7_500)] == [
        "0 s", "59 s", "1 min 0 s", "1 h 0 min", "2 h 5 min",
    ]  # fmt: skip
